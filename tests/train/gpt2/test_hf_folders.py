"""GPT-2 folders as the hub has them: read with the logits of transformers, or refused by name."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from corpus.errors import InputError
from tests.train.fakes import perturbed
from train.gpt2 import hf_files
from train.gpt2.hf_config import hf_config
from train.gpt2.hf_files import PATTERNS, files_of_model, load_tensors
from train.gpt2.huggingface import check_tokenizer, hf_weights, read_hf, read_hf_shape
from train.gpt2.model import GPT2
from train.gpt2.pretrained import load_pretrained
from train.gpt2.shape import Shape

SHAPE = Shape(n_layer=2, n_head=2, n_embd=8, block_size=8, vocab_size=50)
TOKENS = torch.randint(0, 50, (2, 8), generator=torch.Generator().manual_seed(3))
EMBEDDING, HEAD = "transformer.wte.weight", "lm_head.weight"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

Weights = dict[str, Tensor]


def model() -> GPT2:
    return perturbed(SHAPE, 0.3)


NET = model()


def write(folder: Path, weights: Weights | None = None, **changes: Any) -> None:
    document = {**hf_config(SHAPE, 0), **changes}
    kept = {key: value for key, value in document.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(kept))
    # Copies: safetensors stores no tensor under two names.
    stored = {name: tensor.clone() for name, tensor in (weights or hf_weights(NET)).items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})


def write_shards(folder: Path) -> None:
    write(folder)
    weights = hf_weights(NET)
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {FIRST: names[:9], SECOND: names[9:]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
    files = {name: file for file, part in parts.items() for name in part}
    write_index(folder, {"metadata": {"total_size": 1}, "weight_map": files})


def write_index(folder: Path, document: Any) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps(document))


def padded(weights: Weights) -> Weights:
    extra = torch.full((6, SHAPE.n_embd), 0.1)
    return {**weights, EMBEDDING: torch.cat([weights[EMBEDDING], extra])}


def masks(weights: Weights) -> Weights:
    names = {f"transformer.h.{layer}.attn.bias": torch.ones(1, 1, 8, 8) for layer in range(2)}
    return {**weights, **names, "transformer.h.1.attn.masked_bias": torch.tensor(-1e4)}


def typed(dtype: torch.dtype) -> Callable[[Weights], Weights]:
    return lambda weights: {name: tensor.to(dtype) for name, tensor in weights.items()}


READ: dict[str, tuple[Callable[[Weights], Weights], dict[str, Any]]] = {
    "without prefix": (lambda w: {n.removeprefix("transformer."): t for n, t in w.items()}, {}),
    "masks": (masks, {}),
    "float16": (typed(torch.float16), {}),
    "bfloat16": (typed(torch.bfloat16), {}),
    "float64": (typed(torch.float64), {}),
    "tied head stored": (lambda w: {**w, HEAD: w[EMBEDDING]}, {}),
    "untied, with an equal head": (
        lambda w: {**w, HEAD: w[EMBEDDING]},
        {"tie_word_embeddings": False},
    ),
    "head instead of the embedding": (
        lambda w: {**{n: t for n, t in w.items() if n != EMBEDDING}, HEAD: w[EMBEDDING]},
        {},
    ),
    "padded vocabulary": (padded, {"vocab_size": 56}),
    "names of other models": (
        dict,
        {
            **dict.fromkeys(("n_layer", "n_head", "n_embd", "n_positions", "n_ctx"), ...),
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "hidden_size": 8,
            "max_position_embeddings": 8,
        },
    ),
    "few fields": (
        dict,
        {
            name: ...
            for name in hf_config(SHAPE, 0)
            if not name.startswith(("n_", "vocab", "bos", "eos"))
        },
    ),
    "n_inner": (dict, {"n_inner": 32}),
    "gelu_pytorch_tanh": (dict, {"activation_function": "gelu_pytorch_tanh"}),
    "gelu_fast": (dict, {"activation_function": "gelu_fast"}),
    "upcast": (dict, {"reorder_and_upcast_attn": True}),
    "scores by layer": (dict, {"scale_attn_by_inverse_layer_idx": True}),
    "unscaled scores": (dict, {"scale_attn_weights": False}),
    "both scales": (
        dict,
        {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
    ),
}


@pytest.fixture(scope="module")
def transformers() -> Any:
    # It takes seconds to import, so that all comparisons with it are in this module.
    library = pytest.importorskip("transformers")
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


def test_their_model_with_our_weights_gives_our_logits(tmp_path: Path, transformers: Any) -> None:
    write(tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(theirs(TOKENS).logits, NET.logits(TOKENS), rtol=1e-4, atol=1e-4)


def test_our_model_with_their_weights_gives_their_logits(tmp_path: Path, transformers: Any) -> None:
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        n_layer=2,
        n_head=2,
        n_embd=8,
        n_positions=8,
        vocab_size=50,
        bos_token_id=0,
        eos_token_id=0,
    )
    theirs = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    theirs.save_pretrained(tmp_path)
    ours = read_hf(tmp_path).eval()
    torch.testing.assert_close(ours.logits(TOKENS), theirs(TOKENS).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", list(READ))
def test_a_folder_of_the_hub_has_the_logits_of_transformers(
    case: str, tmp_path: Path, transformers: Any
) -> None:
    change, config = READ[case]
    write(tmp_path, change(hf_weights(NET)), **config)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ours = read_hf(tmp_path).eval()
    torch.testing.assert_close(ours.logits(TOKENS), theirs(TOKENS).logits, rtol=1e-4, atol=1e-4)
    assert ours.shape == read_hf_shape(tmp_path)


def test_shards_are_one_model(tmp_path: Path, transformers: Any) -> None:
    write_shards(tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    ours = read_hf(tmp_path).eval()
    torch.testing.assert_close(ours.logits(TOKENS), theirs(TOKENS).logits, rtol=1e-4, atol=1e-4)
    names = [path.name for path in files_of_model(tmp_path)]
    assert names == ["config.json", FIRST, SECOND]
    assert all(any(Path(name).match(each) for each in PATTERNS) for name in names)


def test_rows_beyond_the_tokenizer_are_left_out(tmp_path: Path) -> None:
    """nanoGPT and llm.c train 50,304 rows for 50,257 words."""
    write(tmp_path, padded(hf_weights(NET)), vocab_size=56)
    ours = read_hf(tmp_path, vocab_size=50)
    assert ours.shape == read_hf_shape(tmp_path, 50) == SHAPE
    torch.testing.assert_close(ours.eval().logits(TOKENS), NET.logits(TOKENS))
    assert read_hf(tmp_path, vocab_size=60).shape.vocab_size == 56

    # 55 is not a round number: these are tokens that the corpus does not have.
    rows = padded(hf_weights(NET))[EMBEDDING][:55]
    write(tmp_path, {**hf_weights(NET), EMBEDDING: rows}, vocab_size=55)
    assert read_hf(tmp_path, vocab_size=50).shape.vocab_size == 55


def replaced(name: str, tensor: Tensor) -> Callable[[Weights], Weights]:
    return lambda weights: {**weights, name: tensor}


C_ATTN = "transformer.h.1.attn.c_attn.weight"
REFUSED: dict[str, tuple[Callable[[Weights], Weights], dict[str, Any], str]] = {
    "not a number": (
        replaced("transformer.ln_f.bias", torch.tensor([0.0] * 6 + [float("nan"), float("inf")])),
        {},
        r"tensor ln_f\.bias has 2 values that are not finite",
    ),
    "beyond float32": (
        replaced("transformer.ln_f.bias", torch.full((8,), 1e300, dtype=torch.float64)),
        {},
        r"tensor ln_f\.bias has 8 values",
    ),
    "integers": (
        replaced(C_ATTN, torch.zeros(8, 24, dtype=torch.int8)),
        {},
        r"tensor h\.1\.attn\.c_attn\.weight is of int8; expected bfloat16, float16",
    ),
    "complex": (
        replaced(C_ATTN, torch.zeros(8, 24, dtype=torch.complex64)),
        {},
        r"tensor h\.1\.attn\.c_attn\.weight is of complex64",
    ),
    "three dimensions": (
        replaced(C_ATTN, torch.zeros(2, 3, 4)),
        {},
        r"tensor h\.1\.attn\.c_attn\.weight is \[2, 3, 4\], config.json says \[24, 8\]",
    ),
    "a scalar": (replaced(EMBEDDING, torch.tensor(1.0)), {}, r"tensor wte\.weight is \[\]"),
    "two names": (
        lambda w: {**w, "wte.weight": torch.zeros(50, 8)},
        {},
        r"tensor wte\.weight is there twice",
    ),
    "untied without a head": (
        dict,
        {"tie_word_embeddings": False},
        r"no tensor lm_head\.weight, and config.json says tie_word_embeddings = False",
    ),
    "another head": (replaced(HEAD, torch.zeros(50, 8)), {}, r"lm_head\.weight differs"),
    "the mask of a layer too many": (
        replaced("transformer.h.2.attn.bias", torch.ones(1, 1, 8, 8)),
        {},
        r"1 tensors .*\(h\.2\.attn\.bias\)",
    ),
    "a name that acts on terminals": (
        replaced("a\n\x1b[2J", torch.ones(1)),
        {},
        r"\(a\\n\\x1b\[2J\)",
    ),
    "a classifier": (replaced("score.weight", torch.ones(2, 8)), {}, r"\(score\.weight\)"),
    "quantized": (dict, {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
    "infinite layers": (dict, {"n_layer": float("inf")}, "n_layer = inf; expected the config"),
    "half a layer": (dict, {"n_layer": 2.5}, r"n_layer = 2\.5"),
    "true heads": (dict, {"n_head": True}, "n_head = True"),
    "text for a flag": (dict, {"scale_attn_weights": "no"}, "expected true or false"),
    "exact gelu": (dict, {"activation_function": "gelu"}, "GPT-2 has 'gelu_new'"),
    "a long value": (dict, {"model_type": "x" * 10_000}, r"model_type = 'x{90,98}…, GPT-2 has"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_other_weights_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    change, config, message = REFUSED[case]
    write(tmp_path, change(hf_weights(NET)), **config)
    with pytest.raises(InputError, match=message) as refused:
        read_hf(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")


def nested(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)


def without_a_shard(folder: Path) -> None:
    write_shards(folder)
    (folder / SECOND).unlink()


def with_a_tensor_in_two(folder: Path) -> None:
    write_shards(folder)
    save_file(hf_weights(NET), folder / FIRST)


def without_a_tensor(folder: Path) -> None:
    write_shards(folder)
    write_index(folder, {"weight_map": {"x": FIRST, "y": SECOND}})


def outside(folder: Path) -> None:
    write_shards(folder)
    write_index(folder, {"weight_map": {"x": "../secret.safetensors"}})


def no_index(folder: Path) -> None:
    write_shards(folder)
    write_index(folder, [1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (pickled, "pytorch_model.bin is a pickle"),
        (pointer, "a pointer of git-lfs"),
        (nested, "nested too deep"),
        (without_a_shard, f"no {SECOND}, which model.safetensors.index.json names"),
        (with_a_tensor_in_two, f"{SECOND}: tensor .* is in another file too"),
        (without_a_tensor, "tensor x is in none of the files"),
        (outside, r"tensor x in '\.\./secret\.safetensors'"),
        (no_index, "expected an index of safetensors files"),
    ],
)
def test_files_that_are_not_whole_are_refused(
    damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    write(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        read_hf(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hf")


@given(data=st.data())
def test_any_header_is_read_or_refused_in_one_line(data: st.DataObject, folder: Path) -> None:
    """Types, shapes and offsets of a stranger's header; lengths that are not the file's."""
    write(folder)
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    name = data.draw(st.sampled_from(sorted(header)[1:]))
    sizes = st.lists(st.sampled_from([-1, 0, 1, 8, 24, 50, 1 << 62]), max_size=3)
    changes = {
        "dtype": st.sampled_from(["F32", "F16", "I32", "U64", "F8_E8M0", "C64", "BOOL", "x", 3]),
        "shape": sizes,
        "data_offsets": sizes,
    }
    key = data.draw(st.sampled_from(sorted(changes)))
    header[name][key] = data.draw(changes[key])
    encoded = json.dumps(header).encode()
    said = data.draw(st.sampled_from([len(encoded), 0, len(encoded) + 1, 1 << 30, (1 << 64) - 1]))
    cut = data.draw(st.sampled_from([None, -1, 100, 7]))
    path.write_bytes((struct.pack("<Q", said) + encoded + content[8 + length :])[:cut])
    message = ""
    try:
        assert torch.isfinite(read_hf(folder).logits(TOKENS)).all()
    except InputError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": {"type": "x"}}', "\x00"])
def test_a_tokenizer_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    from train.config import RuntimeConfig
    from train.machine.distributed import join_world

    write(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"tokenizer\.json.*expected the tokenizer of a GPT-2"):
        load_pretrained(str(tmp_path), join_world(RuntimeConfig(device="cpu", num_threads=1), {}))


def test_tokens_of_older_files_and_added_ones_count(tmp_path: Path) -> None:
    ours = json.dumps({"model": {"vocab": {"a": 0, "b": 1}}}).encode()
    check_tokenizer(tmp_path, ours)  # no file says otherwise
    (tmp_path / "vocab.json").write_text('{"a": 1, "b": 0}')
    with pytest.raises(InputError, match="token 'a' has id 1 there, 0 in"):
        check_tokenizer(tmp_path, ours)

    added = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"content": "<pad>", "id": 2}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(added))
    with pytest.raises(InputError, match="token '<pad>' has id 2 there, None in"):
        check_tokenizer(tmp_path, ours)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "[" * 100_000,
        '{"model": []}',
        '{"model": {"vocab": 5}}',
        '{"model": {"vocab": {}}, "added_tokens": 5}',
        '{"model": {"vocab": {}}, "added_tokens": [5]}',
        '{"model": {"vocab": {}}, "added_tokens": [{"content": 5, "id": []}]}',
    ],
)
def test_another_tokenizer_is_refused_before_its_tokens_are_compared(
    content: str, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(
        InputError, match=r"expected the tokenizer of a GPT-2|token '5' has id \[\]"
    ):
        check_tokenizer(tmp_path, b'{"model": {"vocab": {"a": 0}}}')


@pytest.mark.parametrize("beyond", [0, 1])
def test_an_index_of_16_mib_is_read(beyond: int, tmp_path: Path) -> None:
    write_shards(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    text = index.read_text()
    index.write_text(text + " " * (16 * 1024 * 1024 + beyond - len(text)))
    if beyond:
        with pytest.raises(InputError, match=r"16,777,217 bytes, the limit is 16,777,216"):
            load_tensors(tmp_path)
    else:
        assert load_tensors(tmp_path).keys() == hf_weights(NET).keys()


@pytest.mark.parametrize("length", [100, 101])
def test_long_names_are_cut_in_messages(length: int, tmp_path: Path) -> None:
    """A name comes from a stranger's file: its first hundred characters are shown."""
    write_shards(tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    index["weight_map"]["n" * length] = FIRST
    write_index(tmp_path, index)
    with pytest.raises(InputError) as refused:
        load_tensors(tmp_path)
    assert ("n" * 100 in str(refused.value)) is (length == 100)


@pytest.mark.parametrize("length", [200, 201])
def test_a_long_reason_of_the_library_is_cut(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_file(_: Path) -> Any:
        raise OSError("x" * length)

    write(tmp_path)
    monkeypatch.setattr(hf_files, "load_file", load_file)
    with pytest.raises(InputError) as refused:
        load_tensors(tmp_path)
    assert ("x" * 200 in str(refused.value)) is (length == 200)
