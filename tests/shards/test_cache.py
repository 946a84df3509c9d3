"""Row groups from an object store: fetched once, checked, bounded on disk, ahead of need."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus.errors import FatalError, InputError, RetryableError
from corpus.storage.store import Store, open_store
from shards.reader import BlockStream, open_split, sequential_blocks
from shards.stream import file_layout, row_groups
from shards.stream.cache import DIGEST_BYTES, TokenCache, default_folder
from tests.support import faulty_network
from tests.support.document_corpus import commit_batch, documents, make_shards, token_corpus

TOKENS = np.arange(1000, dtype="<u2")
KEY = "0123456789abcdef" * 2


def test_what_is_put_is_got_as_a_map(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path / "new" / "folder")
    assert cache.get(KEY, TOKENS.dtype, 1000) is None
    kept = cache.put(KEY, TOKENS)
    assert kept is not None
    assert np.array_equal(kept, TOKENS)
    assert not kept.flags.writeable
    again = TokenCache(tmp_path / "new" / "folder").get(KEY, TOKENS.dtype, 1000)
    assert again is not None
    assert np.array_equal(again, TOKENS)
    assert cache.num_bytes() == 2000 + DIGEST_BYTES


@pytest.mark.parametrize("damage", ["cut", "flipped", "longer"])
def test_damaged_files_are_not_believed(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = TokenCache(tmp_path)
    cache.put(KEY, TOKENS)
    path = next(tmp_path.iterdir())
    data = path.read_bytes()
    flipped = bytes([data[0] ^ 1]) + data[1:]
    path.write_bytes({"cut": data[:-1], "flipped": flipped, "longer": data + b"x"}[damage])
    assert cache.get(KEY, TOKENS.dtype, 1000) is None
    kept = cache.put(KEY, TOKENS)
    assert kept is not None
    assert np.array_equal(kept, TOKENS)


def test_the_limit_holds_and_the_unused_longest_go(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"x" * 9000)
    left = tmp_path / f"{KEY}.tokens.00ff"  # half-written by a killed process, long ago
    left.write_bytes(b"x" * 500)
    os.utime(left, ns=(0, 0))
    each = TOKENS.nbytes + DIGEST_BYTES
    cache = TokenCache(tmp_path, 3 * each)
    keys = [f"{number:032x}" for number in range(5)]
    held = cache.put(keys[0], TOKENS)
    for number, key in enumerate(keys[1:], 1):
        cache.put(key, TOKENS)
        os.utime(tmp_path / f"{key}.tokens", ns=(number, number))
        if number == 2:
            assert not left.exists()
            assert (
                cache.get(keys[0], TOKENS.dtype, 1000) is not None
            )  # used now, so after all others
        assert cache.num_bytes() <= 3 * each
    assert {path.name for path in tmp_path.iterdir()} == {
        "notes.txt",
        *(f"{keys[n]}.tokens" for n in (0, 3, 4)),
    }
    assert held is not None
    assert np.array_equal(held, TOKENS)  # a map outlives its file


def test_a_disk_that_refuses_is_gone_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = TokenCache(tmp_path / "folder")
    (tmp_path / "folder").rmdir()
    assert cache.put(KEY, TOKENS) is None
    assert "going on without" in caplog.text
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="name a folder that can be written"):
        TokenCache(tmp_path / "file" / "folder")
    with pytest.raises(InputError, match="expected at least 1"):
        TokenCache(tmp_path, 0)


def test_the_default_is_the_user_s_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/webtext/tokens")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_folder() == Path("/home/someone/.cache/webtext/tokens")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(
        os, "getuid", lambda: 4_000_000_001
    )  # a number without an account, as containers give
    with pytest.raises(InputError, match="set XDG_CACHE_HOME"):
        default_folder()


class CountingReader:
    """Counts the row groups read from the store, and may hold them up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[tuple[str, int]] = []
        self.threads: set[str] = set()
        real = row_groups.read_row_group

        def read_row_group(store: Any, file: Any, number: int, footer: Any) -> np.ndarray:
            self.read.append((file.path, number))
            self.threads.add(threading.current_thread().name)
            return real(store, file, number, footer)

        monkeypatch.setattr(row_groups, "read_row_group", read_row_group)


@pytest.fixture(scope="module")
def bucket_corpus(s3_endpoint: str) -> str:
    """A corpus in a bucket, of a plain batch and a compressed one; snapshot b2 has both."""
    import boto3

    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket="tokens")
    root = "s3://tokens/corpus"
    commit_batch(root, "b1", documents(40), num_parts=2)
    make_shards(root, "b1")
    commit_batch(root, "b2", documents(40, seed=1), num_parts=1)
    make_shards(root, "b2", "--set", "shards.writer.compression=zstd")
    return root


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same tokens on the local disk, all plain."""
    root = str(tmp_path_factory.mktemp("twin") / "corpus")
    commit_batch(root, "b1", documents(40), num_parts=2)
    make_shards(root, "b1")
    commit_batch(root, "b2", documents(40, seed=1), num_parts=1)
    make_shards(root, "b2")
    return root


def test_an_epoch_from_a_bucket_reads_each_row_group_once(
    bucket_corpus: str, twin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = CountingReader(monkeypatch)
    remote = open_split(bucket_corpus, "b2", "train", cache=TokenCache(tmp_path), ahead=2)
    local = open_split(twin, "b2", "train")
    streams = [BlockStream(split, block_size=50, seed=3, window=2) for split in (remote, local)]
    for _ in range(streams[0].num_blocks // 8 + 1):
        assert np.array_equal(*(stream.next_batch(8) for stream in streams))
    groups = sum(len(file.row_groups) for file in remote.files)
    assert sorted(reader.read) == sorted(set(reader.read))
    assert len(reader.read) == groups
    assert any(name.startswith("fetch-tokens") for name in reader.threads)
    again = open_split(bucket_corpus, "b2", "train", cache=TokenCache(tmp_path))
    assert all(
        np.array_equal(*pair)
        for pair in zip(sequential_blocks(again, 70), sequential_blocks(local, 70), strict=True)
    )
    assert len(reader.read) == groups
    again.verify()


def test_a_cache_smaller_than_the_split(
    bucket_corpus: str, twin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = CountingReader(monkeypatch)
    cache = TokenCache(tmp_path, 7 * (2048 + DIGEST_BYTES))
    remote = open_split(bucket_corpus, "b2", "train", cache=cache, ahead=2)
    monkeypatch.setattr(remote._segments._maps, "most", 4)
    streams = [
        BlockStream(split, block_size=64, seed=3, window=2)
        for split in (remote, open_split(twin, "b2", "train"))
    ]
    for _ in range(2 * streams[0].num_blocks // 8):
        assert np.array_equal(*(stream.next_batch(8) for stream in streams))
        assert cache.num_bytes() <= cache.limit_bytes + 2 * (2048 + DIGEST_BYTES)
    groups = sum(len(file.row_groups) for file in remote.files)
    assert groups > 9
    assert (
        groups < len(reader.read) < 3.5 * groups
    )  # two epochs; a run of a window lies in up to two row groups


def test_files_that_left_the_cache_do_not_stay_on_its_disk(
    bucket_corpus: str, tmp_path: Path
) -> None:
    """A deleted file takes room for as long as somebody maps it."""
    cache = TokenCache(tmp_path, 3 * (2048 + DIGEST_BYTES))
    split = open_split(bucket_corpus, "b2", "train", cache=cache, ahead=0)
    for start in range(0, split.num_tokens - 1024, 1024):
        split.slice(start, start + 1024)
        maps = Path("/proc/self/maps").read_text().splitlines()
        assert sum(str(tmp_path) in line for line in maps) <= 3
    assert split.misses > 9
    shutil.rmtree(tmp_path)
    assert len(split.slice(0, 10)) == 10  # in memory, then


def test_what_is_no_longer_needed_is_not_waited_for(
    bucket_corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = open_split(bucket_corpus, "b2", "train", cache=TokenCache(tmp_path), ahead=3)
    every = np.arange(0, split.num_tokens - 100, 1024)
    split.prefetch(every, 10)
    first = set(split._segments._fetching)
    assert len(first) == 3
    split.prefetch(every[::-1], 10)
    assert len(split._segments._fetching) == 3
    assert not first & set(split._segments._fetching)


def test_bytes_that_changed_in_the_bucket_are_refused(bucket_corpus: str, tmp_path: Path) -> None:
    store = open_store(bucket_corpus)
    split = open_split(bucket_corpus, "b2", "train", cache=TokenCache(tmp_path), ahead=1)
    file = next(file for file in split.files if file.batch == "b2")
    data = bytearray(store.read_bytes(file.path))
    data[file.row_groups[0].offset + 100] ^= 1
    whole = store.read_bytes(file.path)
    store.write_bytes(file.path, bytes(data))
    try:
        for _ in range(2):  # the second time through a thread
            with pytest.raises(InputError, match=rf"{file.path}: row group 0 of .* has digest"):
                split.slice(0, split.num_tokens)
            split.prefetch(np.arange(0, split.num_tokens - 100, 1024), 10)
        assert not any(
            path.name.startswith(file.row_groups[0].digest) for path in tmp_path.iterdir()
        )
    finally:
        store.write_bytes(file.path, whole)


def test_a_passing_fault_of_the_network_is_outlived(
    bucket_corpus: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    split = open_split(bucket_corpus, "b2", "train", cache=TokenCache(tmp_path))
    real = Store.read_range
    faults = iter([OSError("connection reset"), RetryableError("slow down")])

    def read_range(store: Store, path: str, offset: int, num_bytes: int) -> bytes:
        for fault in faults:
            raise fault
        return real(store, path, offset, num_bytes)

    monkeypatch.setattr(Store, "read_range", read_range)
    monkeypatch.setattr(file_layout, "PAUSES_S", (0.0, 0.0))
    first = split.slice(0, 10)
    assert len(first) == 10
    assert caplog.text.count("again in 0 s") == 2
    for fault in (OSError("connection reset"), RetryableError("connection reset")):
        faults = iter([fault] * 3)
        with pytest.raises(
            FatalError, match=r"row group \d+ of \d+ cannot be read \(connection reset\)"
        ):
            split.slice(split.num_tokens - 10, split.num_tokens)


def test_tries_outlive_a_stall_of_a_minute() -> None:
    """Of 7 ranks some ended after 3 s and some after 21, as the client's own tries fell."""
    assert sum(file_layout.PAUSES_S) > 60


def test_a_start_costs_no_request_per_file_and_a_row_group_one(
    s3_bucket: str, tmp_path: Path, network: faulty_network.Network
) -> None:
    root = f"{s3_bucket}/corpus"
    commit_batch(root, "b1", documents(60), num_parts=7)
    make_shards(root, "b1")
    network.requests.clear()
    split = open_split(root, "b1", "train", cache=TokenCache(tmp_path), ahead=0)
    # corpus.json, the snapshot, a list of files for each batch, and a list of those that a rebuild
    # moved: whatever the number of files.
    assert network.requests.total() <= 5
    assert len(split.files) == 7
    network.requests.clear()
    split.slice(0, 10)
    assert dict(network.requests) == {"GET": 1}


def test_a_file_that_changes_under_its_map_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading past the end of a mapped file ends the process without a word."""
    root = str(tmp_path / "corpus")
    commit_batch(root, "b1", documents(40), num_parts=1)
    make_shards(root, "b1")
    monkeypatch.setattr(row_groups, "WATCH_S", 0.0)

    def opened() -> BlockStream:
        return BlockStream(open_split(root, "b1", "train"), block_size=50, seed=3)

    file = tmp_path / "corpus" / opened().split.files[0].path
    data = file.read_bytes()

    stream = opened()  # changed after it was opened, before it is mapped: the same size
    file.write_bytes(bytes(len(data)))
    os.utime(file, ns=(1, 1))
    with pytest.raises(InputError, match="changed while it was in use"):
        stream.next_batch(4)
    file.write_bytes(data)

    stream = opened()
    stream.next_batch(4)
    os.truncate(file, 100)
    with pytest.raises(InputError, match=r"\(100 bytes, before"):
        stream.next_batch(4)
    file.write_bytes(data)

    stream = opened()
    expected = opened().next_batch(4)
    stream.split.slice(0, 1)
    file.unlink()
    assert np.array_equal(stream.next_batch(4), expected)  # a deleted file stays readable


def test_compressed_local_files_may_use_a_cache_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = CountingReader(monkeypatch)
    ids = np.random.default_rng(0).integers(0, 50256, 20_000)
    token_corpus(str(tmp_path / "corpus"), ids, compression="zstd", row_group_tokens=4096)
    cache = TokenCache(tmp_path / "cache")
    for _ in range(2):
        split = open_split(str(tmp_path / "corpus"), "b", "train", cache=cache)
        assert np.array_equal(split.slice(0, 20_000), ids)
    assert len(reader.read) == 5


def test_a_window_is_suggested_for_a_split_larger_than_its_cache(
    bucket_corpus: str, twin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch then fetches hardly more than the split; without a window each sample was a fetch."""
    assert open_split(twin, "b2", "train").suggested_window == 0
    roomy = open_split(bucket_corpus, "b2", "train", cache=TokenCache(tmp_path / "roomy"))
    assert roomy.suggested_window == 0
    groups = sum(len(file.row_groups) for file in roomy.files)
    cache = TokenCache(tmp_path / "tight", groups // 3 * (2048 + DIGEST_BYTES))
    split = open_split(bucket_corpus, "b2", "train", cache=cache, ahead=2)
    window = split.suggested_window
    assert 1 <= window <= groups // 9
    reader = CountingReader(monkeypatch)
    stream = BlockStream(split, block_size=64, seed=3, window=window)
    for _ in range(stream.num_blocks // 8):
        stream.next_batch(8)
    fetched = len(reader.read)
    reader.read.clear()
    stream = BlockStream(
        open_split(
            bucket_corpus,
            "b2",
            "train",
            cache=TokenCache(tmp_path / "other", cache.limit_bytes),
            ahead=0,
        ),
        block_size=64,
        seed=3,
    )
    for _ in range(stream.num_blocks // 8):
        stream.next_batch(8)
    assert fetched < len(reader.read) / 1.5
