"""Weights to Hugging Face and back: the same logits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from corpus.errors import InputError
from tests.train.fakes import perturbed
from train.checkpoints.load import LoadedModel
from train.config import RuntimeConfig
from train.gpt2 import huggingface
from train.gpt2.hf_config import hf_config
from train.gpt2.huggingface import (
    check_tokenizer,
    hf_weights,
    model_from_hf,
    read_hf,
    write_hf,
)
from train.gpt2.model import GPT2
from train.gpt2.pretrained import load_pretrained
from train.gpt2.shape import Shape
from train.machine.distributed import join_world

SHAPE = Shape(n_layer=2, n_head=4, n_embd=32, block_size=16, vocab_size=60)


def model() -> GPT2:
    return perturbed(SHAPE, 0.2)


def write(folder: Path, net: GPT2, **changes: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(hf_config(SHAPE, 0) | changes))
    save_file(hf_weights(net), folder / "model.safetensors", metadata={"format": "pt"})


def test_there_and_back_is_the_same(tmp_path: Path) -> None:
    net = model()
    write(tmp_path, net)
    back = read_hf(tmp_path)
    assert back.shape == SHAPE
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), net.parameters(), strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_function": "relu"}, "activation_function = 'relu', GPT-2 has 'gelu_new'"),
        ({"n_embd": 64}, r"wte.weight is \[60, 32\], config.json says \[60, 64\]"),
        ({"n_layer": 3}, "no tensor h.2.ln_1.weight"),
        ({"vocab_size": None}, "expected the config of a GPT-2"),
        ({"n_head": 5}, "n_embd = 32: not a multiple of n_head = 5"),
        ({"n_head": 0}, "n_embd = 32: not a multiple of n_head = 0"),
    ],
)
def test_another_architecture_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write(tmp_path, model(), **changes)
    with pytest.raises(InputError, match=message):
        read_hf(tmp_path)


def test_tensors_that_the_config_does_not_have_are_refused_with_their_names(
    tmp_path: Path,
) -> None:
    write(tmp_path, model(), n_layer=1)  # half of the model would be scored
    with pytest.raises(InputError, match=r"12 tensors .*\(h\.1\.attn\.c_attn\.bias, .*n_layer = 1"):
        read_hf(tmp_path)


@pytest.mark.parametrize(("num_extra", "more"), [(1, False), (5, False), (6, True)])
def test_up_to_five_tensors_too_many_are_named(num_extra: int, more: bool, tmp_path: Path) -> None:
    weights = hf_weights(model())
    write(tmp_path, model())
    extra = {f"extra.{n}": torch.ones(1) for n in range(num_extra)}
    save_file({**weights, **extra}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=rf"{num_extra} tensors .*extra\.0") as caught:
        read_hf(tmp_path)
    assert (", ...)" in str(caught.value)) is more


def test_masks_and_a_tied_head_are_no_tensors_too_many(tmp_path: Path) -> None:
    weights = hf_weights(model())
    weights["transformer.h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
    weights["transformer.h.1.attn.masked_bias"] = torch.tensor(-1e4)
    weights["lm_head.weight"] = weights["transformer.wte.weight"].clone()
    write(tmp_path, model())
    save_file(weights, tmp_path / "model.safetensors")
    assert torch.equal(read_hf(tmp_path).wte.weight, model().wte.weight)


def test_an_exported_model_is_as_readable_as_its_config(tmp_path: Path) -> None:
    loaded = LoadedModel(model(), None, 0, {}, {}, 0)  # type: ignore[arg-type]
    write_hf(loaded, b'{"model": {"vocab": {}}}', tmp_path / "hf")
    modes = {path.stat().st_mode for path in (tmp_path / "hf").iterdir()}
    assert len(modes) == 1


def test_a_config_that_is_none_is_refused(tmp_path: Path) -> None:
    write(tmp_path, model())
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"config.json: a list; expected the config of a GPT-2"):
        read_hf(tmp_path)


def test_a_text_is_all_of_its_tokens_and_no_special_one(tmp_path: Path) -> None:
    """Folders saved behind a fine-tuning often have truncation and padding in their tokenizer.json."""
    write(tmp_path, model())
    vocab = {"a": 0, "<|endoftext|>": 1, "other": 2}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="other"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    world = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
    loaded = load_pretrained(str(tmp_path), world)
    assert loaded.tokenizer.encode("a a a a a b") == [0, 0, 0, 0, 0, 2]
    assert loaded.tokenizer.encode("a") == [0]
    assert loaded.end_of_text == 1
    assert 1 not in loaded.tokenizer.encode("a <|endoftext|> a")


@pytest.mark.parametrize(
    ("eos", "expected"), [(1, 1), (3, None), (-1, None), (1 << 40, None), ("1", None), (None, None)]
)
def test_another_end_of_text_is_the_one_of_the_config(
    tmp_path: Path, eos: Any, expected: int | None
) -> None:
    """Exports of a corpus whose tokenizer names the end otherwise could not be scored."""
    write(tmp_path, model(), eos_token_id=eos)
    tokenizer = Tokenizer(WordLevel({"a": 0, "</doc>": 1, "other": 2}, unk_token="other"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    world = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
    if expected is None:
        with pytest.raises(InputError, match="nor the eos_token_id of config.json"):
            load_pretrained(str(tmp_path), world)
        return
    assert load_pretrained(str(tmp_path), world).end_of_text == expected


def test_an_untied_head_is_refused() -> None:
    weights = hf_weights(model()) | {"lm_head.weight": torch.zeros(60, 32)}
    with pytest.raises(InputError, match="head is tied"):
        model_from_hf(hf_config(SHAPE, 0), weights)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected a folder with config.json and model.safetensors"
    ):
        read_hf(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("n_layer", 10**9, "n_layer = 1000000000; expected 1 to 1,000"),
        ("n_embd", 1 << 40, "n_embd = 1099511627776; expected 1 to"),
        ("n_positions", 1 << 40, "block_size = 1099511627776; expected 1 to"),
        ("vocab_size", -1, "vocab_size = -1; expected 1 to"),
        ("vocab_size", 1 << 22, "114,184 bytes, and the model of config.json has"),
    ],
)
def test_a_shape_is_bounded_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: int, line: str
) -> None:
    """A config.json of a few bytes asked for terabytes, since the model was made before a look at its file."""
    config = {**hf_config(SHAPE, 0), name: value}
    save_file(hf_weights(model()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(
        huggingface, "GPT2", lambda shape: pytest.fail("made a model of that shape")
    )
    with pytest.raises(InputError, match=re.escape(line)):
        read_hf(tmp_path)


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
def test_the_end_of_a_document_has_the_name_of_the_vocabulary(tmp_path: Path, kind: str) -> None:
    """Another name would become a new token there, with an id beyond the embedding."""
    pieces = [("<0>", 0.0), ("a", -1.0)]
    document = {
        "model": {"type": kind, "vocab": pieces if kind == "Unigram" else {"<0>": 0, "a": 1}},
        "added_tokens": [{"id": 2, "content": "</doc>", "special": True}],
    }
    loaded = LoadedModel(model(), None, 2, {}, {}, 0)  # type: ignore[arg-type]
    ours = json.dumps(document).encode()
    write_hf(loaded, ours, tmp_path)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        written = json.loads((tmp_path / name).read_text())
        assert written["eos_token"] == written["bos_token"] == "</doc>"
    check_tokenizer(tmp_path, ours)
