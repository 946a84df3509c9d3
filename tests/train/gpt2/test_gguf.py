"""GGUF exports as others read them: transformers' reader, llama.cpp's package, llama.cpp itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from corpus.errors import InputError
from shards.tokenizer.byte_spelling import spell
from shards.tokenizer.encode import Tokenizer
from shards.tokenizer.split_rules import SPLIT_RULES
from shards.tokenizer.vocabulary import END_OF_TEXT, Vocabulary, byte_level_document, from_merges
from tests.train.fakes import perturbed
from train.checkpoints.load import LoadedModel
from train.gpt2.gguf import PRE_NAMES, pre_name, write_gguf
from train.gpt2.shape import Shape

MERGES = [
    (b"t", b"h"),
    (b"th", b"e"),
    (b" ", b"the"),
    (b"i", b"n"),
    (b" ", b"a"),
    (b"\xc3", b"\xa9"),
]
SHAPE = Shape(n_layer=2, n_head=4, n_embd=64, block_size=96, vocab_size=263)
TEXTS = [
    "It's the caf\u00e9",
    "  in 2,024\n\n\tthe end",
    "\u65e5\u672c\u8a9e <|endoftext|> x",
    " the",
]


def with_rule(rule: str, *, ignore_merges: bool = False) -> Vocabulary:
    """The same small vocabulary under another split rule."""
    plain = from_merges(MERGES)
    vocab = {spell(token): index for token, index in plain.ids.items()}
    document = byte_level_document(
        vocab,
        [(spell(left), spell(right)) for left, right in MERGES],
        {END_OF_TEXT: plain.end_of_text},
        SPLIT_RULES[rule],
        ignore_merges=ignore_merges,
    )
    return Vocabulary(document, rule)


def loaded_model(vocabulary: Vocabulary) -> LoadedModel:
    tokenizer = Tokenizer(vocabulary)
    return LoadedModel(perturbed(SHAPE, 0.2, seed=7), tokenizer, tokenizer.end_of_text, {}, {}, 0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedModel, Path]:
    folder = tmp_path_factory.mktemp("gguf")
    loaded = loaded_model(with_rule("gpt2"))
    for dtype in ("f32", "f16", "q8_0"):
        write_gguf(loaded, with_rule("gpt2"), folder / f"{dtype}.gguf", dtype)
    return loaded, folder


@pytest.mark.parametrize(("dtype", "tolerance"), [("f32", 0.0), ("f16", 2e-3), ("q8_0", 2e-2)])
def test_llama_cpps_package_reads_our_weights_under_its_own_names(
    exported: tuple[LoadedModel, Path], dtype: str, tolerance: float
) -> None:
    gguf = pytest.importorskip("gguf")
    loaded, folder = exported
    stored = {each.name: each for each in gguf.GGUFReader(folder / f"{dtype}.gguf").tensors}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, SHAPE.n_layer)
    ours = {
        names.get_name(f"transformer.{name}", (".weight", ".bias")): tensor
        for name, tensor in loaded.model.state_dict().items()
    }

    assert stored.keys() == ours.keys()
    for name, tensor in ours.items():
        found = gguf.quants.dequantize(stored[name].data, stored[name].tensor_type)
        assert torch.tensor(found).shape == tensor.shape
        assert (torch.tensor(found) - tensor).abs().max() <= tolerance


def test_the_file_names_its_tokenizer_and_types(exported: tuple[LoadedModel, Path]) -> None:
    gguf = pytest.importorskip("gguf")
    loaded, folder = exported
    reader = gguf.GGUFReader(folder / "q8_0.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}

    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    assert fields["tokenizer.ggml.tokens"][loaded.end_of_text] == END_OF_TEXT
    assert fields["tokenizer.ggml.token_type"][loaded.end_of_text] == 3  # control
    assert fields["tokenizer.ggml.merges"][:2] == ["t h", "th e"]
    assert fields["gpt2.context_length"] == SHAPE.block_size
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.attn_qkv.weight"] == "Q8_0"
    assert {kinds["position_embd.weight"], kinds["blk.1.ffn_up.bias"]} == {"F32"}


def test_each_split_rule_has_a_name_or_is_refused() -> None:
    for rule in SPLIT_RULES:
        assert pre_name(with_rule(rule)) == PRE_NAMES[rule, False]
    assert pre_name(with_rule("cl100k", ignore_merges=True)) == "llama-bpe"
    with pytest.raises(InputError, match=r"split rule 'gpt2'.* --to hf instead"):
        pre_name(with_rule("gpt2", ignore_merges=True))

    other = {**with_rule("gpt2").document, "normalizer": {"type": "NFC"}}
    with pytest.raises(InputError, match=r"normalizer {'type': 'NFC'}"):
        pre_name(Vocabulary(other, "other"))


def test_a_stop_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = with_rule("gpt2")
    path = tmp_path / "model.gguf"
    write_gguf(loaded_model(vocabulary), vocabulary, path, "f16", card="# Card\n")
    before = path.read_bytes()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.gpt2.gguf._add_tensor", stop)
    with pytest.raises(KeyboardInterrupt):
        write_gguf(loaded_model(vocabulary), vocabulary, path, "f32")
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["README.md", "model.gguf"]


LLAMA_CPP = """
import {getLlama} from "node-llama-cpp";
const [,, file, texts] = process.argv;
const llama = await getLlama({gpu: false, build: "never", logLevel: "error", maxThreads: 1});
const model = await llama.loadModel({modelPath: file});
const context = await model.createContext({contextSize: 96, sequences: 1});
const ids = JSON.parse(texts).map((text) => model.tokenize(text, false));
const greedy = [];
for await (const token of context.getSequence().evaluate(ids[0], {temperature: 0})) {
  greedy.push(token);
  if (greedy.length >= 64) break;
}
console.log(JSON.stringify({ids, greedy}));
process.exit(0);
"""


@pytest.mark.soak
def test_llama_cpp_continues_with_our_tokens(
    exported: tuple[LoadedModel, Path], tmp_path: Path
) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs Node.js: llama.cpp is taken from npm's node-llama-cpp")
    installed = subprocess.run(
        [npm, "install", "--ignore-scripts", "--no-audit", "node-llama-cpp@3"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    if installed.returncode:
        pytest.skip("npm could not install node-llama-cpp")

    (tmp_path / "run.mjs").write_text(LLAMA_CPP)
    loaded, folder = exported
    for rule in SPLIT_RULES:
        vocabulary = with_rule(rule)
        path = folder / f"{rule}.gguf"
        write_gguf(loaded, vocabulary, path, "f32")
        command = ["node", "run.mjs", str(path), json.dumps(TEXTS)]
        found = json.loads(subprocess.check_output(command, cwd=tmp_path))
        ours = Tokenizer(vocabulary)
        assert found["ids"] == [ours.encode(text) for text in TEXTS], rule

        ids = list(found["ids"][0])
        for _ in range(64):
            token = int(loaded.model.logits(torch.tensor([ids]))[0, -1].argmax())
            if token == loaded.end_of_text:
                break  # llama.cpp ends there as well, without the token
            ids.append(token)
        assert found["greedy"] == ids[len(found["ids"][0]) :], rule
