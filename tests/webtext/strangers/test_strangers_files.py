"""Rows, footers and settings of a stranger: bounded, and only the files that this code names."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus import compiled
from corpus.errors import InputError, PathError, SchemaError
from corpus.snapshots.snapshot import read_snapshot
from corpus.storage.interface import TEMPORARY, parse_json
from corpus.storage.store import open_corpus, open_store
from corpus.tables import parquet
from corpus.tables.manifest import read_manifest
from corpus.tables.segments import is_segment
from crawl.warc import records
from dedup import index
from shards import excise
from shards import run as shards_run
from tests.support import grown_corpus
from tests.support.hostile_corpus import redigest
from train import run as train_run
from webtext.inspection import diff
from webtext.takedown import batch, leftovers
from webtext.takedown import command as forget
from webtext.upkeep import prune
from webtext.verify import command as verify


@pytest.fixture
def root(fates_copy: grown_corpus.Fates) -> Path:
    return Path(fates_copy.root)


@pytest.mark.parametrize(
    ("path", "batch", "expected"),
    [
        ("warc/b/part-00000-00000.warc.gz", "b", True),
        ("pages/b/part-00000-00000.warc.gz", "b", True),
        ("warc/b/part-00000-00000.warc.gz", None, True),
        ("warc/a/part-00000-00000.warc.gz", "b", False),
        ("tokens/b/part-00000.parquet", None, False),
        ("warc/b/x/part-00000-00000.warc.gz", "b", False),
        ("warc/b/../a/part-00000.warc.gz", "b", False),
        ("warc/b/part-00000-00000.warc.gz\n", "b", False),
        ("links/b/part.warc.gz", "b", False),
        ("corpus.json", "b", False),
    ],
)
def test_names_of_segments(path: str, batch: str | None, expected: bool) -> None:
    assert is_segment(path, batch) is expected


@pytest.mark.parametrize("other", ["links/2024-01/{part}", "warc/2024-02/{segment}", "corpus.json"])
def test_a_row_cannot_name_another_file_of_the_corpus(
    root: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page whose record lies elsewhere would be read by clean and missed by a take-down."""
    part = next((root / "pages/2024-01").glob("*.parquet"))
    segment = next((root / "warc").rglob("*.warc.gz"))
    name = other.format(part=part.name, segment=segment.name)
    (root / "warc/2024-02").mkdir(exist_ok=True)
    shutil.copy(segment, root / "warc/2024-02" / segment.name)
    store = open_store(str(root))
    with pytest.raises(records.WarcError, match="is not a WARC segment of batch 2024-01"):
        records.read_response(store, name, 0, 100, "2024-01")

    rows = pq.read_table(part)
    names = [name if file else None for file in rows["warc_file"].to_pylist()]
    place = rows.column_names.index("warc_file")
    pq.write_table(rows.set_column(place, rows.schema.field(place), pa.array(names)), part)
    redigest(part)
    assert verify.main(["--corpus", str(root)]) == 1
    expected = f"pages/2024-01: a row names {name!r}, which is not a WARC segment of the batch"
    assert expected in capsys.readouterr().out


def test_every_reader_of_table_parts_decodes_in_slices(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index of dedup and the cutting of tokens opened Parquet themselves, without a limit."""
    store = open_corpus(str(root))
    monkeypatch.setattr(parquet, "MAX_UNPACKED_BYTES", 10)
    bands = read_manifest(store, "bands", "2024-01")
    keys = np.array([0, (1 << 64) - 1], np.uint64)
    with pytest.raises(SchemaError, match="the limit is 10; "):
        index.read_matching(store, bands, keys)

    tokens = read_manifest(store, "tokens", "2024-01")
    part = next(each for each in tokens.parts if each.rows)
    with pytest.raises(SchemaError, match="the limit is 10; "):
        excise._read_tokens(store, f"tokens/2024-01/{part.file}", part)


def test_tokens_that_are_cut_are_joined_up_to_their_number(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of many row groups, each within its limit, was joined without one."""
    store = open_corpus(str(root))
    tokens = read_manifest(store, "tokens", "2024-01")
    part = next(each for each in tokens.parts if each.rows > 1)
    path = f"tokens/2024-01/{part.file}"
    whole = excise._read_tokens(store, path, part)
    assert whole.size == part.rows * part.metadata["row_tokens"]
    file = pq.ParquetFile(root / path)
    rows = file.read()
    more = pa.concat_tables([rows] * 3).cast(file.schema_arrow)
    pq.write_table(more, root / path, row_group_size=part.rows)
    with pytest.raises(SchemaError, match=f"the limit is {whole.nbytes:,}; "):
        excise._read_tokens(store, path, part)

    monkeypatch.setattr(excise, "unpacked_limit", lambda size: 10)
    with pytest.raises(SchemaError, match="the limit is 10; "):
        excise._read_tokens(store, path, part)


def test_left_overs_are_named_one_by_one(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store = open_corpus(str(root))
    in_batch = [f"pages/2024-01/{TEMPORARY}{n}" for n in range(2)]
    elsewhere = f"reports/{TEMPORARY}\x1b]0;owned\x07"
    fresh = f"runs/r/{TEMPORARY}fresh"
    (root / "runs/r").mkdir(parents=True)
    for path in (*in_batch, elsewhere, fresh):
        (root / path).write_bytes(b"text of a page")
        if path != fresh:
            os.utime(root / path, (1, 1))

    assert (leftovers.sweep_batch(store, "2024-01"), leftovers.sweep(store)) == (2, 1)
    lines = [record.getMessage() for record in caplog.records if record.name == leftovers.__name__]
    shown = f"reports/{TEMPORARY}\\x1b]0;owned\\x07"
    assert lines == [
        *(f"will delete {path}" for path in in_batch),
        *(f"deleted {path}" for path in in_batch),
        f"will delete {shown}",
        f"deleted {shown}",
    ]
    assert (root / fresh).exists()
    assert not any((root / path).exists() for path in (*in_batch, elsewhere))


def test_deletions_are_named_before_and_after(
    root: Path, fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "links/2024-01/part-00099.0123456789ab.parquet").write_bytes(b"left")
    assert prune.main(["--corpus", str(root), "--delete"]) == 0
    shown = capsys.readouterr().out
    name = "links/2024-01/part-00099.0123456789ab.parquet (4 B)"
    assert shown.index(f"will delete {name}") < shown.index(f"\ndeleted {name}")

    asked = ["--corpus", str(root), "--url", fates.kept, "--why", "a test", "--yes"]
    assert forget.main(asked) == 0
    shown = capsys.readouterr()
    address = fates.kept.partition("://")[2]
    assert shown.out.index("will take down ") < shown.out.index("took down ")
    assert shown.out.count(address) >= 2
    deleted = [
        line.partition("deleted ")[2] for line in shown.err.splitlines() if "deleted " in line
    ]
    assert deleted
    assert all(f"will delete {path}" in shown.err for path in deleted)
    assert not any((root / path).exists() for path in deleted)


def test_files_have_the_mode_of_the_umask(tmp_path: Path) -> None:
    """A temporary file of mode 0600, or one opened to everybody, would lose the user's choice."""
    before = os.umask(0o027)
    try:
        store = open_corpus(str(tmp_path / "c"), create=True)
        store.write_bytes("work/a", b"1")
        store.create_exclusive("work/b", b"1")
        store.replace_exact("work/b", b"1", b"2")
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "c").rglob("*")}
    assert modes.pop("work") == 0o750
    assert set(modes.values()) == {0o640}, modes


def test_machine_code_of_somebody_else_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given, private = tmp_path / "given", tmp_path / "private"
    for folder in (given, private):
        folder.mkdir(mode=0o700)
    monkeypatch.setattr(compiled, "private_folder", lambda: private)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(given))

    def place() -> str:
        compiled.is_trusted.cache_clear()
        return str(compiled.folder())

    assert place().startswith(str(given))
    given.chmod(0o770)
    assert place().startswith(str(given))
    given.chmod(0o777)
    assert place().startswith(str(private))
    assert f"NUMBA_CACHE_DIR={given} is not used" in caplog.text

    given.chmod(0o755)
    monkeypatch.setattr(os, "getuid", lambda: given.stat().st_uid + 1)
    owned_by_root = given.stat().st_uid == 0
    assert place().startswith(str(given if owned_by_root else private))
    compiled.is_trusted.cache_clear()


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"b": {"a": 1, "a": 1}}', '[{"": 0, "": 0}]']
)
def test_a_key_twice_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="twice in one object"):
        parse_json(text.encode(), "f.json")


@pytest.mark.parametrize(
    ("data", "accepted"),
    [
        (rb'{"a": "\ud83d\ude00"}', True),
        (rb'{"a": "\\ud800"}', True),
        (rb'{"a": "\ud800"}', False),
        (rb'{"a": "\uDFFF"}', False),
        (rb'{"\ud83d": 1}', False),
        (rb'["\ude00\ud83d"]', False),
        (b'{"a": "\xed\xa0\x80"}', False),
        (b'{"a": "\xff"}', False),
    ],
)
def test_half_of_a_surrogate_pair_is_not_text(data: bytes, accepted: bool) -> None:
    """A snapshot that named one ended in a traceback, as its digest could not be computed."""
    if accepted:
        assert parse_json(data, "f.json")
        return
    with pytest.raises(InputError, match="f.json: not JSON"):
        parse_json(data, "f.json")


@pytest.mark.parametrize("key", ["a\ud800", "\udfffb/c", "warc/b/\ud83d.warc.gz"])
def test_a_lone_surrogate_is_not_a_key(tmp_path: Path, key: str) -> None:
    store = open_corpus(str(tmp_path / "c"), create=True)
    for call in (store.exists, store.read_bytes, store.delete, store.open_input, store.files):
        with pytest.raises(PathError, match="not valid Unicode"):
            call(key)


def test_list_offsets_out_of_range_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled loops index by offsets: those of a file are validated before a loop sees them."""
    store = open_corpus(str(tmp_path / "c"), create=True)
    (tmp_path / "c/x").mkdir()
    pq.write_table(pa.table({"v": [[1, 2], [3]]}), tmp_path / "c/x/a.parquet")
    offsets = pa.array([0, 999, 3], pa.int32())
    broken = pa.ListArray.from_buffers(
        pa.list_(pa.int64()), 2, [None, offsets.buffers()[1]], children=[pa.array([1, 2, 3])]
    )
    batch = pa.RecordBatch.from_arrays([broken], ["v"])

    class Reader:
        """Decodes to offsets beyond the values."""

        def __init__(self, stream: object, **options: Any) -> None:
            self._real = pq.core.ParquetFile(stream, **options)
            self.metadata, self.schema_arrow = self._real.metadata, self._real.schema_arrow
            self.num_row_groups = 1

        def iter_batches(self, **_: object) -> Iterator[pa.RecordBatch]:
            return iter([batch])

    monkeypatch.setattr(parquet.pq, "ParquetFile", Reader)
    with pytest.raises(SchemaError, match="damaged Parquet"):
        list(parquet.iter_tables(store, "x/a.parquet"))


@pytest.mark.parametrize(
    ("final_url", "redirects", "warc_file", "shard"),
    [
        ("http://a.example/2", [], "warc/b/part-00003-00007.warc.gz", "warc/b/part-00003"),
        ("http://a.example/2", ["http://www.a.example/1"], "warc/b/part-00003-00007.warc.gz", "warc/b/part-00003"),
        ("http://b.example/2", ["http://a.example/1"], "warc/b/part-00003-00007.warc.gz", ""),
        ("http://a.example/2", ["http://www.a.example/1"], None, ""),
        ("http://a.example/2", [], None, "none"),
    ],
)  # fmt: skip
def test_the_shard_with_all_records_of_a_page(
    final_url: str, redirects: list[str], warc_file: str | None, shard: str
) -> None:
    """A failed page without a record may have redirects that were stored: any shard may have them."""
    page = {
        "final_url": final_url,
        "redirects": redirects,
        "warc_file": warc_file,
        "reason": None,
    }
    assert batch._shard_of(page) == shard


@pytest.mark.parametrize("name", ["../x", "a/b", "", "CON"])
def test_a_wrong_name_of_a_snapshot_names_the_option(root: Path, name: str) -> None:
    with pytest.raises(InputError, match="--snapshot"):
        read_snapshot(open_store(str(root)), name)


@pytest.mark.parametrize(
    ("main", "words", "option"),
    [
        (shards_run.main, ["--batch", "../x"], "--batch"),
        (shards_run.main, ["--batch", "b", "--snapshot", "../x"], "--snapshot"),
        (train_run.main, ["--snapshot", "../x", "--run", "r"], "--snapshot"),
        (train_run.main, ["--snapshot", "s", "--run", "../x"], "--run"),
        (diff.main, ["../x", "2024-01"], "OLD"),
        (diff.main, ["2024-01", "../x"], "NEW"),
    ],
)
def test_a_wrong_name_names_the_word_that_was_given(
    fates: grown_corpus.Fates,
    main: Callable[[list[str]], int],
    words: list[str],
    option: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--corpus", fates.root, *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert line.startswith(f"error: {option} '../x': use letters")
