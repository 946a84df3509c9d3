from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_hexdigest

from clean import run
from clean.document import Document, Dropped, Page, Result
from clean.learned import extraction
from clean.pages import fetched, in_tables, make
from clean.reasons import Reason
from corpus.storage.store import Store, open_corpus, open_store
from corpus.tables.commit import commit_table
from corpus.tables.manifest import find_manifest, read_manifest
from corpus.tables.parquet import read_table, write_part
from corpus.tables.schemas import DOCUMENTS, DOCUMENTS_DROPPED, LINKS, PAGES, part_of_id
from crawl.warc import records
from crawl.warc.writer import SegmentWriter, http_block
from webtext.verify.lost_pages import lost_page_problems

NUM_PARTS = 3
AT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


def link(url: str) -> dict[str, Any]:
    return {
        "doc_id": xxh3_128_hexdigest(url.encode()),
        "url": url,
        "url_key": url,
        "domain": "example.org",
        "score": len(url),
        "score_sum": 7,
        "num_submissions": 1,
        "submission_id": "a1",
        "subreddit": "owls",
        "title": "A submission's title",
        "created": AT,
        "over_18": False,
    }


def page(url: str, place: tuple[str, int, int] | None, reason: str | None = None) -> dict[str, Any]:
    warc_file, offset, length = place or (None, None, None)
    return {
        "doc_id": xxh3_128_hexdigest(url.encode()),
        "url": url,
        "final_url": url,
        "redirects": [],
        "status": 200,
        "reason": reason,
        "attempts": 1,
        "fetched_at": AT,
        "content_type": "text/html",
        "warc_file": warc_file,
        "warc_offset": offset,
        "warc_length": length,
        "truncated": False,
    }


def response(body: bytes, content_type: str = "text/html") -> records.Response:
    return records.Response(
        "u", 200, [("Content-Type", content_type), ("content-type", "other")], body, AT
    )


def tables(rows: list[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    links = sorted((link(row["url"]) for row in rows), key=lambda row: row["doc_id"])
    rows = sorted(rows, key=lambda row: row["doc_id"])
    return pa.Table.from_pylist(rows, PAGES.schema), pa.Table.from_pylist(links, LINKS.schema)


PLACES = st.lists(
    st.tuples(st.sampled_from(["a.warc.gz", "b.warc.gz", "gone.warc.gz", None]), st.integers(0, 9)),
    max_size=30,
)


@settings(deadline=None)
@given(PLACES)
def test_every_page_is_in_one_table_and_files_are_read_forwards(
    places: list[tuple[str | None, int]],
) -> None:
    rows = [
        page(f"http://e.org/{i}", (file, at, 1) if file else None)
        for i, (file, at) in enumerate(places)
    ]
    asked: list[str] = []

    def read(
        warc_file: str, wanted: list[tuple[int, int]]
    ) -> Iterator[records.Response | records.WarcError]:
        asked.append(warc_file)
        assert wanted == sorted(wanted)
        if warc_file.startswith("gone"):
            raise records.WarcError("missing")
        for offset, _ in wanted:
            yield records.WarcError("damaged") if offset == 3 else response(b"%d" % offset)

    def document(each: Page) -> Result:
        if int(each.body) % 2:
            return Dropped(Reason.TOO_SHORT, "odd", ["seen"])
        return Document(f"{each.url} {each.body.decode()}", None, "en", 0.9, 2, None, "x", ["seen"])

    pages, links = tables(rows)
    output = in_tables(make(pages, links, read, document))
    documents, dropped = (
        output.tables["documents"].to_pylist(),
        output.tables["documents_dropped"].to_pylist(),
    )
    assert len(asked) == len(set(asked))
    assert sorted(row["doc_id"] for row in documents + dropped) == pages["doc_id"].to_pylist()
    assert [row["doc_id"] for row in documents] == sorted(row["doc_id"] for row in documents)
    by_url = dict(zip((row["url"] for row in rows), places, strict=True))
    for row in documents:
        assert row["text"] == f"{row['url']} {by_url[row['url']][1]}"
        assert row["score"] == len(row["url"])
    broken = sum(file in ("gone.warc.gz", None) or at == 3 for file, at in places)
    assert output.counts["warc_broken"] == broken
    assert output.counts["seen"] == len(places) - broken
    assert output.counts["kept"] == len(documents)


def test_only_fetched_pages_are_read() -> None:
    pages, _ = tables([page("http://e.org/1", None, "robots"), page("http://e.org/2", ("a", 0, 1))])
    assert fetched(pages)["url"].to_pylist() == ["http://e.org/2"]


def test_the_header_that_was_stored_tells_the_kind_and_the_link_names_the_page() -> None:
    row = page("http://e.org/1", ("a", 0, 1)) | {
        "final_url": "http://e.org/moved",
        "content_type": None,
    }
    seen: list[Page] = []

    def document(each: Page) -> Result:
        seen.append(each)
        return Document("t", "Title", "en", 0.5, 1, 737122, "plain", [])

    pages, links = tables([row])
    output = in_tables(
        make(pages, links, lambda file, places: iter([response(b"x", "text/plain")]), document)
    )
    assert seen == [
        Page(
            "http://e.org/1",
            "http://e.org/moved",
            "text/plain",
            AT.toordinal(),
            b"x",
            status=200,
            headers=[("Content-Type", "text/plain"), ("content-type", "other")],
        )
    ]
    (made,) = output.tables["documents"].to_pylist()
    assert (made["url"], made["domain"], made["subreddit"]) == (
        "http://e.org/1",
        "example.org",
        "owls",
    )
    assert str(made["published"]) == "2019-03-04"
    assert made["fetched_at"] == AT


PROSE = "".join(
    f"<p>Line {i} of a story about an owl that lived in the tower of a church.</p>"
    for i in range(9)
)
BODIES = {
    "good": (f"<html><body><article>{PROSE}</article></body></html>", None),
    "plain": (
        "It was a dark and stormy night, and the rain fell in torrents on the roof. " * 9,
        None,
    ),
    "short": (
        "<html><body><p>Only this one sentence about the owl in its tower.</p></body></html>",
        "too_short",
    ),
    "german": (
        "<html><body><article>"
        + "<p>Die Eule wohnte im Turm der Kirche und schlief den ganzen Tag lang.</p>" * 9,
        "language",
    ),
    "empty": ("", "body_empty"),
    "damaged": ("<html><body><p>never read</p>", "warc_broken"),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_corpus(str(tmp_path / "one"), create=True)
    urls = [f"http://e.org/{kind}/{i}" for kind in BODIES for i in range(3)]
    random.Random(5).shuffle(urls)
    writer = SegmentWriter(store, "warc/b/part-00000-00000.warc.gz", info={}, gzip_level=1)
    rows = []
    for url in urls:
        kind = url.split("/")[3]
        payload = BODIES[kind][0].encode()
        media = b"text/plain" if kind == "plain" else b"text/html"
        block = http_block("HTTP/1.1 200 OK", [(b"Content-Type", media)], payload)
        place = writer.add_response(
            url, block=block, payload_digest="sha1:x", fetched_at=AT, ip=None
        )
        shift = 5 if kind == "damaged" else 0
        rows.append(page(url, (writer.path, place.offset + shift, place.length)))
    writer.commit()
    rows.append(page("http://e.org/forbidden", None, "robots"))
    for table, made in zip((PAGES, LINKS), tables(rows), strict=True):
        parts = []
        for index in range(NUM_PARTS):
            mine = [part_of_id(doc_id, NUM_PARTS) == index for doc_id in made["doc_id"].to_pylist()]
            parts.append(
                write_part(
                    store,
                    table.folder("b"),
                    f"part-{index:05}.parquet",
                    table,
                    [made.filter(pa.array(mine))],
                    index,
                    NUM_PARTS,
                )
            )
        commit_table(
            store, table, "b", parts, counts={"fetched": len(rows) - 1}, num_parts=NUM_PARTS
        )
    return store


@pytest.mark.usefixtures("no_sandbox")
def test_the_door(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One worker, here without the sandbox, gives the bytes of two workers with theirs."""
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    digests = []
    for root, workers in ((tmp_path / "one", "1"), (tmp_path / "two", "2")):
        assert run.main(["--corpus", str(root), "--batch", "b", "--workers", workers]) == 0
        copy = open_store(str(root))
        manifests = [
            read_manifest(copy, table.name, "b") for table in (DOCUMENTS, DOCUMENTS_DROPPED)
        ]
        digests.append([part.digest for manifest in manifests for part in manifest.parts])
    assert digests[0] == digests[1]
    for kind, (_, reason) in BODIES.items():
        rows = read_table(
            store, "documents" if reason is None else "documents_dropped", "b"
        ).to_pylist()
        found = [row for row in rows if row["doc_id"] in _ids(kind)]
        assert len(found) == 3, kind
        assert {row.get("reason") for row in found} == {reason}
    counts = read_manifest(store, "documents", "b").counts
    assert counts["kept"] == 6
    assert sum(counts.get(reason, 0) for reason in Reason) == 12
    capsys.readouterr()
    assert run.main(["--corpus", store.root, "--batch", "b"]) == 0
    assert "up to date" in capsys.readouterr().out
    monkeypatch.setattr(extraction, "model_digest", lambda: "another model")
    assert run.main(["--corpus", store.root, "--batch", "b"]) == 2
    assert (
        "model learned changed since. Run the same command with --rebuild"
        in capsys.readouterr().err
    )


@pytest.mark.usefixtures("no_sandbox")
@pytest.mark.parametrize(
    ("damage", "settings"),
    [
        ("overwritten", ()),
        ("cut short", ("--set", "clean.boilerplate.remove=true")),
        ("gone", ()),
    ],
)
def test_a_segment_that_is_broken_as_a_whole_is_not_a_success(
    store: Store, damage: str, settings: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two crawls on a store that ignores conditions left 0 of 40 documents, with exit code 0."""
    words = ["--corpus", store.root, "--batch", "b", "--workers", "1"]
    path = "warc/b/part-00000-00000.warc.gz"
    whole = store.read_bytes(path)
    if damage == "gone":
        store.delete(path)
    else:
        store.write_bytes(path, whole[:40] if damage == "cut short" else bytes(len(whole)))
    for _ in range(2):
        assert run.main([*words, *settings]) == 1
        assert f"no page of 1 WARC segments could be read ({path})" in capsys.readouterr().err
        assert find_manifest(store, "documents", "b") is None

    accepted = open_store(shutil.copytree(store.root, f"{store.root}-accepted"))
    store.write_bytes(path, whole)
    assert run.main([*words, *settings]) == 0, "nothing of the refused run was kept"
    assert read_manifest(store, "documents", "b").counts["kept"] == 6
    assert lost_page_problems(store, "b") == [], "records that are broken are told by their segment"

    words[1] = accepted.root
    assert run.main([*words, *settings, "--set", "clean.allow_broken_segments=true"]) == 0
    assert read_manifest(accepted, "documents", "b").rows == 0
    assert lost_page_problems(accepted, "b") == []
    accepted.write_bytes(path, whole)
    (found,) = lost_page_problems(accepted, "b")
    assert "documents b: 15 pages were dropped as warc_broken, and their records can be" in found


def _ids(kind: str) -> set[str]:
    return {xxh3_128_hexdigest(f"http://e.org/{kind}/{i}".encode()) for i in range(3)}
