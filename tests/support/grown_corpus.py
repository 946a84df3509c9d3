"""A corpus grown by the real doors out of a made web, without a network: the responses are written as a crawl would.

Ten to a hundred pages of English sentences; a test plants what it needs among them.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clean import run as clean_run
from corpus.storage.store import Store, open_store
from corpus.tables.commit import commit_table
from corpus.tables.manifest import Input, read_manifest
from corpus.tables.parquet import read_table, write_part
from corpus.tables.schemas import PAGES, TABLES, part_of_id
from corpus.urls import registered_domain
from crawl import run as crawl_run
from crawl.warc.writer import RecordPosition, SegmentWriter, digest, http_block
from dedup import run as dedup_run
from examples.demo.dump import compressed
from shards import run as shards_run

AT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
NUM_PARTS = 3
TABLE_NAMES = [name for name in TABLES if name not in ("marks", "rights")]
"""What every corpus has under these settings."""
SHARDS = 2
SETTINGS = (
    f"crawl.links.num_parts={NUM_PARTS}",
    "crawl.links.allow_immature_scores=true",
    f"crawl.fetch.shards={SHARDS}",
    "clean.extract.extractor=trafilatura-fast",
    "clean.language.min_score=0.0",
    "shards.writer.val_frac=0.2",
    "shards.writer.row_tokens=64",
    "shards.writer.row_group_tokens=1024",
)
SUBJECTS = "the gardener,my neighbour,a young teacher,the old captain,their cousin,the printer,our doctor,the miller"
VERBS = "carried,repaired,described,forgot,painted,studied,borrowed,measured,sold,remembered,cleaned,opened"
OBJECTS = "a wooden boat,the garden gate,an old letter,two heavy boxes,the village clock,a map of the coast,fresh bread"
ENDINGS = "before the rain came,because it was late,with great care,in the early morning,while everybody was asleep,for the last time"


@dataclass(frozen=True)
class Site:
    """A page of the made web."""

    url: str
    text: str = ""
    status: int = 200
    reason: str | None = None
    score: int = 10
    hops: tuple[str, ...] = ()
    """Addresses that redirect on the way, the first being `url`; then `final` is fetched."""
    final: str = ""
    submissions: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def html(self) -> bytes:
        paragraphs = "".join(f"<p>{part}</p>" for part in self.text.split("\n"))
        return f"<html><head><title>A page</title></head><body><article><h1>A page of prose</h1>{paragraphs}</article></body></html>".encode()


def prose(seed: int | str, sentences: int = 24) -> str:
    """English sentences, others for another seed."""
    rng = random.Random(str(seed))
    made = []
    for _ in range(sentences):
        words = [rng.choice(part.split(",")) for part in (SUBJECTS, VERBS, OBJECTS, ENDINGS)]
        made.append(
            f"{' '.join(words).capitalize()}, and number {rng.randrange(10**6)} was {rng.choice(['red', 'green', 'blue'])}."
        )
    return "\n".join(" ".join(made[start : start + 4]) for start in range(0, sentences, 4))


def ordinary(count: int, seed: int = 0) -> list[Site]:
    """Pages that all differ."""
    return [
        Site(f"http://site{n % 5}.test/{seed}/page-{n}.html", prose(f"{seed}/{n}"))
        for n in range(count)
    ]


def write_dump(path: Path, sites: Sequence[Site], start: int = 0) -> Path:
    """A dump that links to the sites."""
    rows = []
    for site in sites:
        for repeat in range(site.submissions):
            rows.append(
                {
                    "id": f"a{start + len(rows):x}",
                    "url": site.url,
                    "title": f"About {site.url}",
                    "score": site.score - repeat,
                    "subreddit": "books",
                    "author": "somebody",
                    "created_utc": 1_704_067_200 + start + len(rows),
                    "is_self": False,
                    "over_18": False,
                    **site.extra,
                }
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(compressed(rows))
    return path


def arguments(root: str, batch: str, *extra: str) -> list[str]:
    """What every door gets."""
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["--corpus", root, "--batch", batch, "--executor", "serial", *sets, *extra]


def link(root: str, batch: str, dump: Path) -> None:
    """The links stage."""
    assert crawl_run.main(arguments(root, batch, "--only", "links", "--dumps", str(dump))) == 0


def fetch(store: Store, batch: str, sites: Sequence[Site]) -> None:
    """Commit `pages` as a crawl would: a WARC segment per shard, a row for every link."""
    web = {site.url: site for site in sites}
    num_parts = read_manifest(store, "links", batch).num_parts
    links = read_table(store, "links", batch, ["doc_id", "url", "domain"]).to_pylist()
    segments = {
        number: SegmentWriter(
            store,
            f"warc/{batch}/part-{number:05}-00000.warc.gz",
            info={"software": "test"},
            gzip_level=3,
        )
        for number in range(SHARDS)
    }
    rows = []
    for row in links:
        rows.append(_page(row, web[row["url"]], segments))
    for segment in segments.values():
        segment.commit()
    parts = [
        write_part(
            store,
            PAGES.folder(batch),
            f"part-{index:05}.parquet",
            PAGES,
            [_table([row for row in rows if part_of_id(row["doc_id"], num_parts) == index])],
            index,
            num_parts,
        )
        for index in range(num_parts)
    ]
    counts = Counter(row["reason"] or "fetched" for row in rows)
    made_of = read_manifest(store, "links", batch).fingerprint
    commit_table(
        store,
        PAGES,
        batch,
        parts,
        stage="crawl",
        counts=counts,
        num_parts=num_parts,
        inputs=[Input(table="links", batch=batch, fingerprint=made_of)],
    )


def _table(rows: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(rows, PAGES.schema)


def _page(row: dict[str, Any], site: Site, segments: dict[int, SegmentWriter]) -> dict[str, Any]:
    """A row of `pages`; its records lie with the shards that own the domains which were asked."""

    def of(url: str) -> SegmentWriter:
        return segments[sum(registered_domain(url.split("/")[2]).encode()) % SHARDS]

    made: dict[str, Any] = dict.fromkeys(PAGES.schema.names) | {
        "doc_id": row["doc_id"],
        "url": row["url"],
        "redirects": list(site.hops),
        "final_url": site.final or row["url"],
        "attempts": 1,
        "truncated": False,
        "status": site.status,
        "reason": site.reason,
        "fetched_at": AT,
        "ip": "127.0.0.1",
    }
    for hop in site.hops:
        _store(of(hop), hop, 301, b"", (b"Location", (site.final or row["url"]).encode()))
    if site.reason is None:
        segment = of(made["final_url"])
        place, payload_digest = _store(segment, made["final_url"], site.status, site.html)
        made |= {
            "content_type": "text/html",
            "body_bytes": len(site.html),
            "payload_digest": payload_digest,
            "warc_file": segment.path,
            "warc_offset": place.offset,
            "warc_length": place.length,
        }
    return made


def _store(
    segment: SegmentWriter,
    url: str,
    status: int,
    body: bytes,
    *headers: tuple[bytes, bytes],
) -> tuple[RecordPosition, str]:
    block = http_block(
        f"HTTP/1.1 {status} OK", [(b"Content-Type", b"text/html; charset=utf-8"), *headers], body
    )
    payload_digest = digest(body)
    request = f"GET {url} HTTP/1.1\r\n\r\n".encode()
    place = segment.add_response(
        url,
        block=block,
        payload_digest=payload_digest,
        fetched_at=AT,
        ip="127.0.0.1",
        request_block=request,
    )
    return place, payload_digest


def grow(
    root: str, batch: str, sites: Sequence[Site], folder: Path, *extra: str, start: int = 0
) -> Store:
    """A batch by all doors; its snapshot has the batch's name."""
    link(root, batch, write_dump(folder / f"RS_{batch}.zst", sites, start))
    store = open_store(root)
    fetch(store, batch, sites)
    refine(root, batch, *extra)
    return store


def refine(root: str, batch: str, *extra: str) -> None:
    """Clean, dedup and shards of a batch."""
    for door in (clean_run, dedup_run, shards_run):
        assert door.main(arguments(root, batch, *extra)) == 0


def rows(store: Store, table: str, batch: str) -> dict[str, dict[str, Any]]:
    """A table by doc_id."""
    return {row["doc_id"]: row for row in read_table(store, table, batch).to_pylist()}


def table_bytes(store: Store, batch: str, *tables: str) -> dict[str, list[bytes]]:
    """The parts of tables in order, whatever their names."""
    return {
        table: [
            store.read_bytes(f"{table}/{batch}/{part.file}")
            for part in read_manifest(store, table, batch).parts
        ]
        for table in tables
    }


@dataclass(frozen=True)
class Fates:
    """A corpus of two batches with a page of every fate; addresses by what became of them."""

    root: str
    folder: Path
    kept: str = "http://site1.test/0/page-1.html"
    original: str = "http://originals.test/story"
    copy: str = "http://copies.test/story"
    near: str = "http://nearly.test/story"
    missing: str = "http://gone.test/page"
    short: str = "http://short.test/page"
    moved: str = "http://moved.test/old"
    overlapping: str = "http://leaks.test/page"
    later_copy: str = "http://later.test/copy"

    @property
    def store(self) -> Store:
        return open_store(self.root)


def grow_fates(folder: Path, root: str | None = None) -> Fates:
    """Grow it."""
    fates = Fates(root or str(folder / "corpus"), folder)
    story = prose("story", 40)
    leaked = prose("leaked", 60)
    testset = folder / "testset.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    sentence = " ".join(leaked.split("\n")[3].split())
    testset.write_text(json.dumps({"text": sentence}) + "\n")
    planted = [
        Site(fates.original, story, score=90),
        Site(fates.copy, story, score=20),
        Site(fates.near, story.replace("number 1", "figure 1", 1), score=15, submissions=3),
        Site(fates.missing, status=404, reason="http_status"),
        Site(fates.short, "Too few words to keep."),
        Site(
            fates.moved,
            prose("moved"),
            hops=(fates.moved, "http://moved.test/hop"),
            final="http://moved.test/new",
        ),
        Site(fates.overlapping, leaked),
    ]
    extra = ("--set", f'dedup.testsets=["{testset}"]')
    grow(fates.root, "2024-01", [*ordinary(24), *planted], folder, *extra)
    later = [*ordinary(16, 1), Site(fates.later_copy, story, score=200)]
    grow(fates.root, "2024-02", later, folder, *extra, start=1000)
    return fates
