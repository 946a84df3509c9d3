from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import FatalError, InputError
from corpus.snapshots.snapshot import TokenFile, read_snapshot
from corpus.storage.store import Store, open_store
from corpus.tables.parquet import read_file
from shards.reader import (
    BlockStream,
    TokenSplit,
    document_numbers,
    open_split,
    sequential_blocks,
)
from shards.stream import blocks as stream_module
from shards.stream import local_files
from shards.stream.order import Permutation
from tests.support import child
from tests.support.document_corpus import commit_batch, documents, make_shards, token_corpus


def plain_tokens(root: str, name: str, split: Any) -> np.ndarray:
    """All tokens of a split by plain pyarrow: the stranger's reading."""
    found = [np.zeros(0, np.uint16)]
    for file in read_snapshot(open_store(root), name).splits[split].files:
        rows = pq.read_table(f"{root}/{file.path}")["tokens"].to_pylist()
        found.append(np.frombuffer(b"".join(rows), "<u2")[: file.num_tokens])
    return np.concatenate(found)


@pytest.fixture(scope="module")
def split(built: str) -> TokenSplit:
    return open_split(built, "b2", "train")


@pytest.fixture(scope="module")
def tokens(built: str) -> np.ndarray:
    return plain_tokens(built, "b2", "train")


def test_any_slice_is_what_any_reader_sees(split: TokenSplit, tokens: np.ndarray) -> None:
    assert split.num_tokens == len(tokens)
    assert np.array_equal(split.slice(0, split.num_tokens), tokens)

    @settings(max_examples=100, deadline=None)
    @given(st.tuples(st.integers(0, len(tokens)), st.integers(0, len(tokens))).map(sorted))
    def check(ends: list[int]) -> None:
        assert np.array_equal(split.slice(*ends), tokens[ends[0] : ends[1]])

    check()
    with pytest.raises(IndexError):
        split.slice(0, len(tokens) + 1)


@pytest.mark.parametrize("block_size", [1, 7, 64, 1000])
def test_an_epoch_is_every_block_once(
    split: TokenSplit, tokens: np.ndarray, block_size: int
) -> None:
    stream = BlockStream(split, block_size=block_size, seed=3)
    blocks = stream.next_batch(stream.num_blocks)
    assert (stream.epoch, stream.index) == (1, 0)
    assert blocks.dtype == np.int64
    starts = np.arange(stream.num_blocks) * block_size
    expected = np.stack([tokens[start : start + block_size + 1] for start in starts])
    assert sorted(map(bytes, blocks)) == sorted(map(bytes, expected.astype(np.int64)))
    assert not np.array_equal(blocks, expected)
    assert not np.array_equal(blocks, stream.next_batch(stream.num_blocks))


def test_four_then_two_then_eight_ranks_continue_one_order(split: TokenSplit) -> None:
    def resumed(
        state: dict[str, Any], rank: int, world_size: int, steps: int
    ) -> tuple[np.ndarray, dict[str, Any]]:
        stream = BlockStream(split, block_size=50, seed=0)
        stream.load_state_dict(state)
        batches = [stream.next_batch(24, rank, world_size) for _ in range(steps)]
        return np.stack(batches), stream.state_dict()

    whole = BlockStream(split, block_size=50, seed=9)
    steps = 2 * whole.num_blocks // 24 // 3 + 1  # three legs run through two epochs and over
    order = [whole.next_batch(24) for _ in range(3 * steps)]
    state: dict[str, Any] = BlockStream(split, block_size=50, seed=9).state_dict()
    seen = []
    for world_size in (4, 2, 8):
        shares = [resumed(state, rank, world_size, steps) for rank in range(world_size)]
        assert len({tuple(after.items()) for _, after in shares}) == 1
        state = shares[0][1]
        seen += list(np.concatenate([batches for batches, _ in shares], axis=1))
    assert np.array_equal(np.stack(order), np.stack(seen))
    assert state == whole.state_dict()


@pytest.mark.parametrize("batch", [1, 24, 200])
def test_the_order_is_the_permutation_however_much_is_computed_at_once(
    split: TokenSplit, tokens: np.ndarray, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "ORDER_CHUNK", 64)
    stream = BlockStream(split, block_size=64, seed=4)
    blocks = np.concatenate(
        [Permutation(stream.num_blocks, 4, epoch)(np.arange(stream.num_blocks)) for epoch in (0, 1)]
    )
    for first in range(0, 2 * stream.num_blocks - batch, batch):
        rows = stream.next_batch(batch)
        starts = blocks[first : first + batch] * 64
        assert np.array_equal(rows, tokens[starts[:, None] + np.arange(65)])


@pytest.mark.parametrize("window", [0, 2])
def test_a_whole_epoch_over_changing_ranks_loses_and_repeats_nothing(
    split: TokenSplit, tokens: np.ndarray, window: int
) -> None:
    """Every block of one epoch, drawn by 4, then 2, then 8 ranks, each resumed from the state the ones before saved."""
    size = 16
    state: dict[str, Any] = BlockStream(split, block_size=size, seed=2, window=window).state_dict()
    num_blocks = BlockStream(split, block_size=size, seed=2).num_blocks
    steps = num_blocks // 8
    given: list[bytes] = []
    for world_size, until in ((4, steps // 3), (2, 2 * steps // 3), (8, steps)):
        streams = [
            BlockStream(split, block_size=size, seed=0, window=window) for _ in range(world_size)
        ]
        for stream in streams:
            stream.load_state_dict(state)
        while streams[0].index < 8 * until:
            for rank, stream in enumerate(streams):
                given += map(bytes, stream.next_batch(8, rank, world_size))
        state = streams[0].state_dict()
    assert state["epoch"] == 0
    last = BlockStream(split, block_size=size, seed=0, window=window)
    last.load_state_dict(state)
    given += map(bytes, last.next_batch(num_blocks - last.index))
    assert last.state_dict()["epoch"] == 1
    starts = np.arange(num_blocks) * size
    every = np.stack([tokens[start : start + size + 1] for start in starts]).astype(np.int64)
    assert sorted(given) == sorted(map(bytes, every))


def test_a_window_keeps_to_a_few_row_groups(split: TokenSplit) -> None:
    """Row groups of 1,024 tokens; blocks of 64 make runs of 16, and a window of 3 runs touches at most 6 groups."""
    stream = BlockStream(split, block_size=64, seed=7, window=3)
    blocks = stream.block_numbers(np.arange(stream.num_blocks))
    windows = [blocks[i : i + 48] // 16 for i in range(0, stream.num_blocks // 48 * 48, 48)]
    assert all(
        len(np.unique(window)) <= 4 for window in windows
    )  # the last has what is left over too
    assert len(windows) > 5
    assert np.ptp(windows[0]) > 3
    assert not np.array_equal(np.sort(blocks[:48]), blocks[:48])


def test_three_epochs_do_not_grow(tmp_path: Path) -> None:
    """6 MB of tokens, mapped, and compressed with room for 2 MB of them: in a process of its own."""
    program = """
import resource, sys
import numpy as np
from shards.reader import BlockStream, open_split
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
for root in sys.argv[1:]:
    split = open_split(root, "b", "train", decoded_bytes=2_000_000)
    stream = BlockStream(split, block_size=1024, seed=1, window=3)
    def epoch():
        for _ in range(stream.num_blocks // 8):
            stream.next_batch(8)
    epoch()
    first = rss()
    for _ in range(3):
        epoch()
    print(rss() - first)
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc")
    ids = np.random.default_rng(0).integers(0, 50256, 3_000_000).astype(np.uint16)
    roots = [str(tmp_path / compression) for compression in ("none", "zstd")]
    for root in roots:
        token_corpus(root, ids, compression=Path(root).name, row_group_tokens=1 << 16)
    shown = child.run_program(program, *roots)
    assert [int(line) < 20_000_000 for line in shown.split()] == [True, True], shown


def test_a_file_that_goes_while_it_is_read_is_named(built: str, tmp_path: Path) -> None:
    """Files are mapped at first use: a take-down may have deleted one since the split was opened."""
    root = shutil.copytree(built, tmp_path / "corpus")
    split = open_split(str(root), "b2", "train")
    gone = split.files[-1].path
    (root / gone).unlink()
    with pytest.raises(
        FatalError, match=f"{gone} is gone; restore the file, or use another snapshot"
    ):
        split.slice(split.num_tokens - 1, split.num_tokens)


def test_more_files_than_may_be_open(built: str, tokens: np.ndarray) -> None:
    split = open_split(built, "b2", "train")
    split._segments._maps.most = 2
    stream = BlockStream(split, block_size=100, seed=1)
    again = BlockStream(open_split(built, "b2", "train"), block_size=100, seed=1)
    for _ in range(stream.num_blocks // 10):
        assert np.array_equal(stream.next_batch(10), again.next_batch(10))
        assert len(split._segments._maps) <= 2
        assert len(split._segments._mapped) <= len(split._segments._segments)
    assert np.array_equal(split.slice(0, split.num_tokens), tokens)


def test_a_batch_larger_than_the_epoch_crosses_several(split: TokenSplit) -> None:
    stream = BlockStream(split, block_size=4000, seed=1)
    batch = stream.next_batch(stream.num_blocks * 3 + 2)
    again = BlockStream(split, block_size=4000, seed=1)
    assert np.array_equal(batch, np.concatenate([again.next_batch(1) for _ in range(len(batch))]))
    assert stream.epoch == 3
    assert stream.index == 2


def test_resume_is_instant(split: TokenSplit) -> None:
    def resume_s() -> float:
        stream = BlockStream(split, block_size=2, seed=1)
        state = {**stream.state_dict(), "epoch": 10**6, "index": stream.num_blocks - 1}
        started = time.process_time()  # of the processor: the machine may be busy elsewhere
        stream.load_state_dict(state)
        stream.next_batch(2)
        return time.process_time() - started

    assert min(resume_s() for _ in range(3)) < 0.05


def test_validation_predicts_every_token_once(built: str) -> None:
    split = open_split(built, "b2", "val")
    blocks = list(sequential_blocks(split, 100))
    assert np.array_equal(
        np.concatenate([block[1:] for block in blocks]), split.slice(1, split.num_tokens)
    )
    assert all(np.array_equal(a[-1:], b[:1]) for a, b in itertools.pairwise(blocks))


def test_a_sample_leads_back_to_its_pages(built: str, split: TokenSplit) -> None:
    stream = BlockStream(split, block_size=300, seed=5)
    blocks = stream.next_batch(stream.num_blocks)
    by_id = {
        row["doc_id"]: row["text"]
        for batch in ("b1", "b2")
        for index in range(3)
        for row in read_file(
            open_store(built), f"documents/{batch}/part-{index:05}.parquet"
        ).to_pylist()
    }
    from shards.tokenizer.encode import load_tokenizer

    tokenizer = load_tokenizer(open_store(built))
    again = BlockStream(split, block_size=300, seed=5)
    for index in range(0, stream.num_blocks, 3):
        found = again.documents(index)
        assert sum(part.stop - part.start for part in found) == 301
        numbers = document_numbers(blocks[index : index + 1], split.end_of_text)[0]
        assert numbers[-1] + 1 == len(found)
        for number, part in enumerate(found):
            inside = blocks[index][numbers == number]
            assert len(inside) == part.stop - part.start
            ids = [*tokenizer.encode(by_id[part.doc_id]), split.end_of_text]
            assert " ".join(map(str, inside)) in " ".join(map(str, ids))


def test_document_numbers() -> None:
    blocks = np.array([[5, 0, 6, 7, 0, 0, 8], [1, 2, 3, 4, 5, 6, 0]])
    assert document_numbers(blocks, 0).tolist() == [[0, 0, 1, 1, 1, 2, 3], [0, 0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"snapshot": "other"}, "snapshot 'other'"),
        ({"block_size": 8}, "block_size 8"),
        ({"split": "val"}, "split 'val'"),
        ({"window": 2}, "window 2"),
        ({"index": -1}, "index -1: expected a whole number"),
        ({"epoch": "2"}, "epoch '2'"),
    ],
)
def test_foreign_states_are_refused(
    split: TokenSplit, change: dict[str, Any], message: str
) -> None:
    stream = BlockStream(split, block_size=64, seed=1)
    with pytest.raises(InputError, match=message):
        stream.load_state_dict({**stream.state_dict(), **change})
    with pytest.raises(InputError, match="expected"):
        stream.load_state_dict({"seed": 1})


def test_wrong_use(split: TokenSplit, built: str) -> None:
    stream = BlockStream(split, block_size=64, seed=1)
    with pytest.raises(InputError, match="world size 0"):
        stream.next_batch(8, 0, 0)
    with pytest.raises(InputError, match="3 ranks do not divide"):
        stream.next_batch(8, 0, 3)
    with pytest.raises(InputError, match="rank 4"):
        stream.next_batch(8, 4, 4)
    with pytest.raises(InputError, match="holds .* tokens and a block needs 10,000,001"):
        BlockStream(split, block_size=10_000_000, seed=1)
    with pytest.raises(InputError, match="present: b1, b2"):
        open_split(built, "none", "train")
    with pytest.raises(InputError, match="window -1"):
        BlockStream(split, block_size=64, seed=1, window=-1)
    with pytest.raises(InputError, match="no batch"):
        open_split(built, "b1", "train", batches=["b2"])


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small") / "corpus"
    commit_batch(str(root), "b1", documents(60), num_parts=1)
    make_shards(str(root), "b1")
    return root


@pytest.fixture
def small(undamaged: Path, tmp_path: Path) -> Path:
    """A corpus of its own, to be damaged."""
    return Path(shutil.copytree(undamaged, tmp_path / "corpus"))


def test_damage_is_found_before_training(small: Path) -> None:
    file = small / "tokens/b1/train/part-00000.parquet"
    whole = file.read_bytes()
    group = read_snapshot(open_store(str(small)), "b1").splits["train"].files[0].row_groups[1]
    flipped = bytearray(whole)
    flipped[group.offset + 500] ^= 1
    file.write_bytes(flipped)
    with pytest.raises(InputError, match="row group 1 of"):
        open_split(str(small), "b1", "train").verify()
    file.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="the snapshot says"):
        open_split(str(small), "b1", "train")
    flipped = bytearray(whole)
    flipped[-6] ^= 0xFF  # the length of the footer
    file.write_bytes(flipped)
    with pytest.raises(InputError, match="damaged Parquet footer"):
        open_split(str(small), "b1", "train")
    file.write_bytes(whole.replace(b"webtext-tokens-1", b"webtext-tokens-9"))
    with pytest.raises(InputError, match="format is webtext-tokens-9"):
        open_split(str(small), "b1", "train")
    file.write_bytes(whole.replace(b"webtext-tokens-1", b"webtext-tokens-\xff"))
    with pytest.raises(InputError, match=r"format is webtext-tokens-\\xff"):
        open_split(str(small), "b1", "train")
    file.write_bytes(whole.replace(b"uint16", b"uint32"))
    with pytest.raises(InputError, match="dtype is uint32, the snapshot says uint16"):
        open_split(str(small), "b1", "train")
    file.unlink()
    with pytest.raises(InputError, match="missing"):
        open_split(str(small), "b1", "train")


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_files_as_written_are_checked_by_their_last_bytes(
    small: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    """The full check costs 100 us a file, and is left for those that differ or are links."""
    root = str(small)
    if compression == "zstd":
        changed = ("--rebuild", "--set", "shards.writer.compression=zstd", "--snapshot", "s")
        make_shards(root, "b1", *changed)
    name = "s" if compression == "zstd" else "b1"
    checked: list[str] = []

    def check(store: Store, file: TokenFile, tokenizer: str) -> None:
        checked.append(file.path)

    monkeypatch.setattr(local_files, "check_footer", check)
    file = small / open_split(root, name, "train").files[0].path
    assert checked == []
    file.rename(small / "moved")
    file.symlink_to(small / "moved")
    open_split(root, name, "train")
    assert checked == [str(file.relative_to(small))]


def test_file_of_another_tokenizer_is_refused(small: Path) -> None:
    file = small / "tokens/b1/train/part-00000.parquet"
    fingerprint = read_snapshot(open_store(str(small)), "b1").tokenizer_fingerprint.encode()
    file.write_bytes(file.read_bytes().replace(fingerprint, b"0" * 32))
    with pytest.raises(InputError, match=r"webtext.tokenizer is 0{32}"):
        open_split(str(small), "b1", "train")


def test_compressed_files_give_the_same_stream_from_a_small_cache(
    small: Path, tmp_path: Path
) -> None:
    packed = str(tmp_path / "packed")
    commit_batch(packed, "b1", documents(60), num_parts=1)
    make_shards(packed, "b1", "--set", "shards.writer.compression=zstd")
    ours, theirs = (
        open_split(packed, "b1", "train", decoded_bytes=3000),
        open_split(str(small), "b1", "train"),
    )
    assert sum(file.bytes for file in ours.files) < sum(file.bytes for file in theirs.files)
    streams = [BlockStream(split, block_size=100, seed=4) for split in (ours, theirs)]
    assert np.array_equal(*(stream.next_batch(2 * stream.num_blocks) for stream in streams))
    assert ours._segments._decoded_size <= 3000
    ours.verify()
    file = Path(packed) / ours.files[0].path
    data = bytearray(file.read_bytes())
    data[ours.files[0].row_groups[1].offset + 300] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"part-00000.parquet: row group 1 of \d+ has digest"):
        open_split(packed, "b1", "train").slice(0, ours.num_tokens)
