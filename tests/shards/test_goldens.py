"""Values that must be the same in every version: a change would reorder an epoch or move pages to validation on resume."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from corpus.errors import SchemaError
from corpus.snapshots.snapshot import TokenFile
from corpus.storage.store import open_store
from shards import split
from shards.stream import file_layout, order, packing
from shards.stream.file_layout import _Window
from shards.stream.order import Permutation, WindowedPermutation
from shards.tokenizer.vocabulary import gpt2
from shards.write_step import TokenWriter, WriterConfig


def test_the_order_of_an_epoch() -> None:
    assert order.ROUNDS == 6
    assert Permutation(20, 7, 1)(np.arange(20)).tolist() == [
        0, 5, 8, 17, 15, 16, 3, 4, 1, 2, 18, 14, 12, 13, 11, 9, 6, 10, 7, 19,
    ]  # fmt: skip
    places = Permutation(10**12, 3)(np.array([0, 1, 10**12 - 1]))
    assert places.tolist() == [355334450896, 692465286257, 271770083529]
    assert WindowedPermutation(23, 3, 2, 5)(np.arange(23)).tolist() == [
        20, 0, 2, 1, 18, 19, 10, 15, 17, 11, 16, 9, 5, 13, 3, 14, 4, 12, 6, 22, 8, 21, 7,
    ]  # fmt: skip


def test_the_side_of_a_page() -> None:
    doc_ids = ["0" * 32, "f" * 32, "0123456789abcdef" * 2]
    assert split.SPLIT_SEED == 20190214
    fractions = split.fractions(doc_ids, split.SPLIT_SEED)
    assert fractions.tolist() == [0.4313106312378001, 0.43373524226521487, 0.20993811346355362]
    assert split.is_validation(doc_ids, fractions[0]).tolist() == [False, False, True]
    assert split.is_validation(doc_ids, np.nextafter(fractions[0], 1)).tolist() == [
        True,
        False,
        True,
    ]


def test_fractions_fill_the_unit_interval() -> None:
    values = split.fractions([f"{n:032x}" for n in range(20_000)], 1)
    assert values.min() >= 0
    assert 0.999 < values.max() < 1
    assert abs(values.mean() - 0.5) < 0.01


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(65_535, "uint16"), (65_536, "uint16"), (65_537, "uint32")]
)
def test_the_width_of_a_token(tmp_path: Path, vocab_size: int, dtype: str) -> None:
    tokenizer = SimpleNamespace(fingerprint="f", vocab_size=vocab_size, end_of_text=0)
    with (tmp_path / "x").open("wb") as stream:
        writer = TokenWriter(stream, "part-00000.parquet", "train", tokenizer, WriterConfig())  # type: ignore[arg-type]
        writer.write(np.array([1, 2, vocab_size - 1], np.uint32), 1, 3)
        assert writer.finish().metadata["dtype"] == dtype


@pytest.mark.parametrize("extra", [-1, 1, 1000])
def test_a_file_of_another_size_is_refused(tmp_path: Path, extra: int) -> None:
    """Longer ones as well: appended bytes would move the footer that a reader finds."""
    (tmp_path / "tokens" / "b" / "train").mkdir(parents=True)
    path = "tokens/b/train/part-00000.parquet"
    (tmp_path / path).write_bytes(b"x" * (1000 + extra))
    file = TokenFile.model_construct(path=path, bytes=1000)
    with pytest.raises(SchemaError, match=f"{1000 + extra:,} bytes, the snapshot says 1,000"):
        file_layout.check_footer(open_store(str(tmp_path)), file, "f")


def test_a_store_that_fails_is_asked_again_for_so_long() -> None:
    assert file_layout.PAUSES_S == (1.0, 4.0, 10.0, 20.0, 30.0, 30.0)


def test_a_window_is_read_in_pieces() -> None:
    window = _Window(b"abcdef", 100, 200)
    window.seek(-98, 2)
    assert [window.read(2), window.tell(), window.read(3), window.tell()] == [
        b"cd",
        104,
        b"ef",
        106,
    ]
    assert window.seek(-1, 1) == 105
    assert [window.read(9), window.read(9), window.tell()] == [b"f", b"", 106]


def test_a_special_token_in_tokenizer_json() -> None:
    (token,) = json.loads(gpt2().to_json())["added_tokens"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    assert token == {"id": 50256, "content": "<|endoftext|>", "special": True, **flags}


def test_the_order_at_sizes_beside_a_power_of_four() -> None:
    """The width of the rounds steps there."""
    for n, places in (
        (15, [11, 13, 12, 10, 9, 6, 5, 0, 7, 8, 3, 1, 2, 14, 4]),
        (16, [11, 13, 12, 10, 9, 6, 5, 0, 7, 8, 15, 1, 2, 14, 4, 3]),
        (17, [10, 15, 8, 11, 16, 12, 9, 5, 3, 2, 1, 14, 6, 7, 0, 13, 4]),
    ):
        assert Permutation(n, 5)(np.arange(n)).tolist() == places


def test_constants_that_decide_which_documents_share_a_row() -> None:
    assert (packing.GROUP_DOCUMENTS, packing.RUN_DOCUMENTS) == (65_536, 64)
    assert packing.IGNORED == -100, "torch's cross entropy leaves it out"
