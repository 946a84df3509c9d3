"""Verification finds what was changed behind the corpus' back: any byte, any file, any join; and nothing else."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from xxhash import xxh3_128_hexdigest

from corpus.storage.store import Store, open_corpus
from corpus.tables.generations import find_file
from corpus.tables.manifest import find_manifest, read_manifest, sealed, serialized
from corpus.tables.parquet import read_file
from corpus.tables.schemas import TABLES, Table
from dedup.tables import OVERLAP
from tests.support import grown_corpus
from webtext.takedown import command as takedown
from webtext.verify import command as verify


def problems(store: Store) -> list[str]:
    return verify.verify(store, workers=1).problems


def named_files(store: Store) -> list[str]:
    """Every file that makes the corpus' tables and snapshots."""
    return [
        path
        for table in (*grown_corpus.TABLE_NAMES, OVERLAP.name, "warc", "snapshots")
        for path, _ in store.files(table, recursive=True)
    ]


def test_a_corpus_as_it_was_written(
    fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main(["--corpus", fates.root, "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-2].endswith("everything as it was written")
    found = json.loads(out[-1])
    tables = [
        m
        for t in (*grown_corpus.TABLE_NAMES, OVERLAP.name)
        for b in ("2024-01", "2024-02")
        if (m := find_manifest(fates.store, t, b))
    ]
    segments = [path for path in named_files(fates.store) if path.endswith(".warc.gz")]
    assert found["files"] == sum(len(m.parts) for m in tables) + len(segments)


def test_any_flipped_byte_is_found(fates_copy: grown_corpus.Fates) -> None:
    """Bytes of every file, drawn anew each time the seed is changed; and with the byte put back all is well."""
    rng, store = random.Random(8), fates_copy.store
    missed = []
    files = [path for path in named_files(store) if "/retired/" not in path]
    for path in (
        rng.sample(files, 30)
        + [p for p in files if p.endswith((".warc.gz", "_manifest.json"))][:12]
    ):
        data = store.read_bytes(path)
        place = rng.randrange(len(data))
        changed = bytearray(data)
        changed[place] ^= rng.randrange(1, 256)
        if path.endswith("_manifest.json") and bytes(changed).split() == data.split():
            continue  # white space for white space: it says the same
        local = store.local_path(path)
        assert local is not None
        local.write_bytes(changed)
        batch = None if path.startswith("snapshots/") else [path.split("/")[1]]
        if not verify.verify(store, batch, workers=1).problems:
            missed.append((path, place, data[place], changed[place]))
        local.write_bytes(data)
    assert missed == []
    assert problems(store) == []


def test_what_lies_beside_the_tables_is_checked_too(fates_copy: grown_corpus.Fates) -> None:
    """The tokenizer, take-downs, and snapshots that were withdrawn by one."""
    rng, store = random.Random(3), fates_copy.store
    assert (
        takedown.main(
            ["--corpus", fates_copy.root, "--url", fates_copy.kept, "--yes", "--why", "a test"]
        )
        == 0
    )
    withdrawn = [f"snapshots/{batch}.json" for batch in ("2024-01", "2024-02")]
    listed = [path for path, _ in [*store.files("forgotten"), *store.files("snapshots/retired")]]
    assert len(listed) == 3
    for path in ["tokenizer/tokenizer.json", *withdrawn, *listed]:
        data = store.read_bytes(path)
        changed, place = bytearray(data), rng.randrange(len(data) - 1)
        changed[place] ^= 1
        store.write_bytes(path, bytes(changed))
        assert changed.split() == data.split() or problems(store), (path, place)
        store.write_bytes(path, data)
    assert problems(store) == []
    store.delete("documents/2024-01/_manifest.json")
    assert "verdicts 2024-01: stale: documents 2024-01 is gone" in problems(store)
    store.delete("tokenizer/tokenizer.json")
    assert "tokenizer/tokenizer.json: missing" in problems(store)


def test_a_record_without_its_tokenizer_is_no_damage_yet(tmp_path: Path) -> None:
    """A run that is killed between the two files leaves the record alone; the next one writes both."""
    store = open_corpus(str(tmp_path), create=True)
    store.write_json("tokenizer/source.json", {"fingerprint": "of what was to come"})
    assert problems(store) == []


@pytest.mark.parametrize(
    "table", [name for name in grown_corpus.TABLE_NAMES if name != "documents_dropped"]
)
def test_a_missing_file_is_named(fates_copy: grown_corpus.Fates, table: str) -> None:
    part = read_manifest(fates_copy.store, table, "2024-01").parts[1]
    fates_copy.store.delete(f"{table}/2024-01/{part.file}")
    assert f"{table}/2024-01/{part.file}: missing" in problems(fates_copy.store)


def test_a_missing_segment_is_named(fates_copy: grown_corpus.Fates) -> None:
    fates_copy.store.delete("warc/2024-01/part-00001-00000.warc.gz")
    assert "warc/2024-01/part-00001-00000.warc.gz: missing" in problems(fates_copy.store)


def rewrite(store: Store, table: Table, batch: str, change: object, number: int = 0) -> None:
    """Change the rows of a part and commit that as if it had been made so: every digest is right."""
    manifest = read_manifest(store, table.name, batch)
    parts = list(manifest.parts)
    path = f"{table.name}/{batch}/{parts[number].file}"
    rows = change(read_file(store, path))  # type: ignore[operator]
    sink = io.BytesIO()
    pq.write_table(rows, sink)
    data = sink.getvalue()
    store.write_bytes(path, data)
    written = parts[number].model_copy(
        update={"rows": rows.num_rows, "bytes": len(data), "digest": xxh3_128_hexdigest(data)}
    )
    parts[number] = written
    changed = sealed(manifest.model_copy(update={"parts": parts}))
    store.write_bytes(f"{table.name}/{batch}/_manifest.json", serialized(changed))


def drop_first(rows: pa.Table) -> pa.Table:
    return rows.slice(1)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("links", "only in links"),
        ("pages", "not in fetched pages"),
        ("documents", "only in fetched pages"),
        ("signatures", "signatures 2024-01 part 0: 1 pages only in documents"),
        ("verdicts", "verdicts 2024-01 part 0: 1 pages only in documents"),
        ("spans", "spans 2024-01 part 0: 1 pages only in kept verdicts"),
    ],
)
def test_a_lost_row_breaks_a_join(
    fates_copy: grown_corpus.Fates, table: str, expected: str
) -> None:
    store = fates_copy.store
    rewrite(store, TABLES[table], "2024-01", drop_first)
    found = problems(store)
    assert any(
        expected.replace("only in links", "not in links") in line or expected in line
        for line in found
    ), found


def set_column(name: str, change: object) -> object:
    def apply(rows: pa.Table) -> pa.Table:
        index = rows.column_names.index(name)
        return rows.set_column(
            index,
            rows.schema.field(name),
            pa.array(change(rows[name].to_pylist()), rows.schema.field(name).type),
        )  # type: ignore[operator]

    return apply


@pytest.mark.parametrize(
    ("table", "change", "expected"),
    [
        (
            "links",
            set_column("url_key", lambda v: ["other", *v[1:]]),
            "not the hash of its url_key",
        ),
        (
            "spans",
            set_column("start", lambda v: [x + 1 for x in v]),
            "do not lie one behind the other",
        ),
        (
            "spans",
            set_column("num_tokens", lambda v: [*v[:-1], *(x + 1 for x in v[-1:])]),
            "tokens, their file holds",
        ),
        (
            "verdicts",
            set_column("duplicate_of", lambda v: [x and "0" * 32 for x in v]),
            "kept nowhere",
        ),
        ("pages", set_column("warc_offset", lambda v: [x and x + 1 for x in v]), "no record there"),
        (
            "pages",
            set_column("payload_digest", lambda v: [x and "sha1:X" for x in v]),
            "payload digest",
        ),
        ("documents", set_column("text", lambda v: [""] * len(v)), "cuts outside the text"),
        ("bands", set_column("doc_id", lambda v: ["0" * 32, *v[1:]]), "in the index, and not kept"),
    ],
    ids=["url_key", "start", "num_tokens", "duplicate_of", "offset", "payload", "cuts", "bands"],
)
def test_a_broken_join_is_found_though_all_digests_are_right(
    fates_copy: grown_corpus.Fates, table: str, change: object, expected: str
) -> None:
    store = fates_copy.store
    manifest = read_manifest(store, table, "2024-01")
    for number in range(len(manifest.parts)):
        rewrite(store, TABLES[table], "2024-01", change, number)
    assert any(expected in line for line in problems(store))


def test_rows_in_the_wrong_part(fates_copy: grown_corpus.Fates) -> None:
    rewrite(
        fates_copy.store,
        TABLES["links"],
        "2024-02",
        lambda rows: rows.take(pc.sort_indices(rows, [("doc_id", "descending")])),
    )
    assert "links 2024-02 part 0: ids do not ascend" in problems(fates_copy.store)


def test_a_sample_reads_less_and_the_same_each_time(
    fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    all_of_it = verify.verify(fates.store)
    some = [verify.verify(fates.store, sample=0.2, seed=3) for _ in range(2)]
    assert some[0].problems == []
    assert 0 < some[0].num_files < all_of_it.num_files / 2
    assert (some[0].num_files, some[0].num_bytes) == (some[1].num_files, some[1].num_bytes)
    assert verify.main(["--corpus", fates.root, "--sample", "0.005"]) == 0
    assert "(a sample of 0.5%)" in capsys.readouterr().out


def test_an_old_file_that_a_snapshot_pins_is_checked(fates_copy: grown_corpus.Fates) -> None:
    """A rebuild left it to the snapshot; nobody else names it."""
    store = fates_copy.store
    pinned = read_manifest(store, "tokens", "2024-01")
    assert (
        grown_corpus.shards_run.main(
            grown_corpus.arguments(
                fates_copy.root,
                "2024-01",
                "--rebuild",
                "--set",
                "shards.writer.row_tokens=32",
                "--snapshot",
                "new",
            )
        )
        == 0
    )
    assert problems(store) == []
    path = store.local_path(find_file(store, f"tokens/2024-01/{pinned.parts[0].file}"))
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    found = problems(store)
    assert len(found) == 2, "both snapshots hold it"
    assert all(line.startswith("snapshot 2024-0") for line in found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sample", "0"], "not a share above 0"),
        (["--batch", "none"], "no batch ['none']; present: 2024-01"),
        (["--workers", "0"], "not a positive"),
    ],
)
def test_wrong_use(
    fates: grown_corpus.Fates, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main(["--corpus", fates.root, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"[]", b"3", b"{"])
def test_a_record_that_is_not_one_is_named_beside_the_others(tmp_path: Path, data: bytes) -> None:
    store = open_corpus(str(tmp_path / "c"), create=True)
    broken = ("forgotten/x.json", "snapshots/retired/y.json")
    for path in broken:
        store.write_bytes(path, data)
    problems = verify.verify(store).problems
    assert [any(path in line for line in problems) for path in broken] == [True, True]


def test_an_empty_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_corpus(str(tmp_path / "c"), create=True)
    assert verify.main(["--corpus", str(tmp_path / "c")]) == 0
    assert "0 files" in capsys.readouterr().out
