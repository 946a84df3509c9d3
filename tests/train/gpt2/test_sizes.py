"""Sizes of models that are read: the last one allowed, the first one refused, and those not given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus.errors import InputError, SchemaError
from train.checkpoints import record
from train.checkpoints.load import run_settings
from train.config import ModelConfig
from train.gpt2 import huggingface
from train.gpt2.document_attention import document_bounds
from train.gpt2.hf_config import HfConfig, hf_config, parse_config
from train.gpt2.shape import Shape


def test_sizes_that_a_config_leaves_out_are_those_of_the_smallest_gpt2() -> None:
    found = parse_config({})
    assert found == HfConfig(ModelConfig(preset="gpt2").shape(50257))
    assert (found.scale_attn_weights, found.scale_attn_by_inverse_layer_idx, found.tied) == (True, False, True)  # fmt: skip
    assert [found.query_scale(layer) for layer in (0, 5)] == [1.0, 1.0]


def test_scales_of_queries() -> None:
    """Heads have 64 channels: an attention that is not scaled has eight times our scores."""
    plain = parse_config({"scale_attn_weights": False})
    assert [plain.query_scale(layer) for layer in (0, 5)] == [8.0, 8.0]
    by_layer = parse_config({"scale_attn_by_inverse_layer_idx": True})
    assert [by_layer.query_scale(layer) for layer in (0, 5)] == [1.0, 1 / 6]
    assert not parse_config({"tie_word_embeddings": False}).tied


@pytest.mark.parametrize(
    ("name", "most"),
    [("n_layer", 1_000), ("n_embd", 65_536), ("n_positions", 1_048_576), ("vocab_size", 4_194_304)],
)
def test_sizes_of_strangers_are_bounded(name: str, most: int) -> None:
    for value in (1, most):
        parse_config({"n_head": 1, name: value})
    for value in (0, -1, most + 1, True, 1.0, "1"):
        with pytest.raises(InputError, match="expected"):
            parse_config({"n_head": 1, name: value})


@pytest.mark.parametrize(
    ("n_embd", "n_head", "allowed"), [(8, 8, True), (8, 1, True), (8, 0, False), (8, 3, False), (8, -1, False)]
)  # fmt: skip
def test_a_width_is_a_multiple_of_its_heads(n_embd: int, n_head: int, allowed: bool) -> None:
    shape = {"n_layer": 1, "n_head": n_head, "n_embd": n_embd, "block_size": 4, "vocab_size": 9}
    identity = {
        "shape": shape, "end_of_text": 0, "tokenizer_fingerprint": "f",
        "settings": {"model": {"document_mask": True}, "data": {"packing": "documents"}},
    }  # fmt: skip
    if allowed:
        parse_config({"n_embd": n_embd, "n_head": n_head})
        found = run_settings({"identity": identity}, "p")
        assert found == (identity, Shape(**shape), True, True)
        return
    with pytest.raises(InputError, match="not a multiple"):
        parse_config({"n_embd": n_embd, "n_head": n_head})
    with pytest.raises(SchemaError, match="not the settings of a run"):
        run_settings({"identity": identity}, "p")


@pytest.mark.parametrize(("size", "allowed"), [(0, True), ((1 << 31) - 1, True), (1 << 31, False), (-1, False), (True, False)])  # fmt: skip
def test_sizes_of_a_run_are_numbers_of_31_bits(size: Any, allowed: bool) -> None:
    shape = {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 4, "vocab_size": size}
    identity = {"shape": shape, "end_of_text": 0, "tokenizer_fingerprint": "f", "settings": {"model": {"document_mask": False}}}  # fmt: skip
    if allowed:
        assert run_settings({"identity": identity}, "p")[2:] == (False, False)
    else:
        with pytest.raises(SchemaError, match="sizes"):
            run_settings({"identity": identity}, "p")


@pytest.mark.parametrize(
    ("rows", "words", "padded"),
    [
        (50_304, 50_257, True),
        (50_264, 50_257, True),
        (50_257, 50_257, False),
        (50_256, 50_257, False),
        (50_304, 50_304, False),
        (50_304, 50_303, True),
        (50_304, 50_177, True),
        (50_304, 50_176, False),
        (50_300, 50_257, False),
    ],
)
def test_rows_up_to_the_next_multiple_of_128_are_padding(
    rows: int, words: int, padded: bool
) -> None:
    assert huggingface._is_padded(Shape(1, 1, 8, 4, rows), words) is padded


@pytest.mark.parametrize(("vocab_size", "checked"), [(52_209, False), (52_210, True)])
def test_a_model_of_64_mebi_numbers_is_small(
    vocab_size: int, checked: bool, tmp_path: Path
) -> None:
    """The first shape has 1 << 26 of them: its tensors are compared one by one."""
    shape = Shape(n_layer=1, n_head=1, n_embd=1024, block_size=1024, vocab_size=vocab_size)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    if checked:
        with pytest.raises(InputError, match=r"67,109,888 parameters"):
            huggingface._refuse_other_size(shape, [file])
    else:
        huggingface._refuse_other_size(shape, [file])


@pytest.mark.parametrize(("width", "checked"), [(1024, True), (512, False)])
def test_a_file_has_two_bytes_for_each_number_of_its_config(
    width: int, checked: bool, tmp_path: Path
) -> None:
    """Of a model beyond 64 million numbers. The file has holes: only its size is asked."""
    shape = Shape(n_layer=1, n_head=1, n_embd=width, block_size=1024, vocab_size=60_000)
    per_layer = 12 * width * width + 13 * width
    numbers = width * (60_000 + 1024) + per_layer + 2 * width
    file = tmp_path / "model.safetensors"
    for size, refused in ((2 * numbers, False), (2 * numbers - 1, checked)):
        with file.open("wb") as stream:
            stream.truncate(size)
        if refused:
            with pytest.raises(InputError, match=f"has {numbers:,} parameters"):
                huggingface._refuse_other_size(shape, [file])
        else:
            huggingface._refuse_other_size(shape, [file])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"step": 0}, None),
        ({"step": -1}, "expected a number of steps"),
        ({"step": True}, "expected a number of steps"),
        ({"step": 1.0}, "expected a number of steps"),
        ({"format": 2}, "format 2, this version reads 3"),
        ({"format": 4}, "format 4, this version reads 3"),
        ({"files": []}, "no list of files"),
        ({"files": [{"file": "rank-00000.safetensors", "digest": "d"}]}, "does not name"),
        ({"files": [{"file": "x.pt", "digest": "d"}]}, "names the file 'x.pt'"),
        ({"files": [{"file": record.INDEX}]}, "has no digest"),
        ({"files": ["x"]}, "names the file 'x'"),
    ],
)
def test_records_of_checkpoints(changes: dict[str, Any], words: str | None) -> None:
    files = [{"file": name, "digest": "d"} for name in ("rank-00000.safetensors", record.INDEX)]
    made = {"format": 3, "step": 4, "files": files}
    # The digest is right: what is wrong is told for its own sake.
    sealed = record.sealed(made | ({} if "files" in changes else changes))
    found = record.problem({**sealed, **changes})
    assert found is None if words is None else found is not None and words in found


def test_a_record_that_was_changed_is_told_by_its_digest() -> None:
    files = [{"file": record.INDEX, "digest": "d"}]
    sealed = record.sealed({"format": 3, "step": 4, "files": files})
    assert record.problem(dict(reversed(sealed.items()))) is None
    assert "has digest" in str(record.problem({**sealed, "step": 5}))
    assert record.problem({**sealed, "files": [{"file": record.INDEX, "digest": "e"}]}) is None
    del sealed["digest"]
    assert record.problem(sealed) is None, "an old record has none"


@pytest.mark.parametrize(
    ("rows", "length", "documents", "size"),
    [
        # Room for one document of 64 tokens each, one more a row, and the end.
        (1, 64, 2, 3),
        (1, 64, 3, 6),
        (1, 64, 5, 6),
        (1, 64, 6, 12),
        (1, 65, 3, 4),
        (2, 64, 4, 5),
        (2, 64, 5, 10),
    ],
)
def test_the_length_of_bounds_follows_the_shape(
    rows: int, length: int, documents: int, size: int
) -> None:
    """As few lengths as may be: each is a graph of its own. The last bound is always repeated."""
    given = np.ones((rows, length + 1), np.int64)
    given[0, 1 : documents - rows + 1] = 0
    bounds = document_bounds(given, 0)
    assert len(bounds) == size
    assert np.unique(bounds).size == documents + 1
    assert bounds[-1] == rows * length


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("n_inner", (None, 3072), (768, 3071, 3073)),
        ("add_cross_attention", (False,), (True,)),
        ("quantization_config", (None,), ({},)),
        ("model_type", ("gpt2",), ("gpt_neo", None)),
        ("activation_function", ("gelu_new", "gelu_pytorch_tanh"), ("gelu", "relu")),
        ("layer_norm_epsilon", (1e-5,), (1e-6, 0)),
        ("scale_attn_weights", (True, False), (1, None)),
    ],
)
def test_arithmetic_of_a_config(
    name: str, allowed: tuple[Any, ...], refused: tuple[Any, ...]
) -> None:
    for value in allowed:
        parse_config({name: value})
    for value in refused:
        with pytest.raises(InputError, match=f"{name} = "):
            parse_config({name: value})


def test_an_exported_config_is_read_as_it_was() -> None:
    shape = Shape(n_layer=3, n_head=2, n_embd=8, block_size=5, vocab_size=11)
    written = hf_config(shape, 10)
    assert parse_config(written) == HfConfig(shape)
    assert {written[name] for name in written if name.endswith("pdrop")} == {0.0}
    assert (written["bos_token_id"], written["eos_token_id"]) == (10, 10)
    assert parse_config({name: value for name, value in written.items() if name != "n_positions"}) == HfConfig(shape)  # fmt: skip
