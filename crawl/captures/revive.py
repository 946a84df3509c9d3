"""Revives the dead links of a batch from web archives, as WARC files that another batch imports.

    webtext revive --corpus C --batch B --index SOURCE --plan
    webtext revive --corpus C --batch B --index SOURCE [--records BASE] [--replay ADDRESS]
    webtext crawl  --corpus C --batch B-revived --warc C/revived/B/*.warc.gz

SOURCE is the address of a CDX server, a Parquet file or folder of a columnar index
(`columnar:PATH`), or a CDXJ, WARC or WACZ file. It may be given several times; the first index with
a capture wins. Records are read by range below BASE, or through ADDRESS, a replay with
`{timestamp}` and `{url}` that gives raw content.

A group of links is one segment, which is written before its receipt. A killed run continues with the
groups that have no receipt.
"""

from __future__ import annotations

import itertools
import json
import logging
import zlib
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import Store
from crawl.captures.cdx_server import CdxServer
from crawl.captures.choice import Policy, candidates
from crawl.captures.client import ArchiveClient
from crawl.captures.columnar import ColumnarIndex
from crawl.captures.dead_links import DeadLink, dead_links
from crawl.captures.groups import RECEIPT, SEGMENT, folder, path_of, receipts
from crawl.captures.index import CaptureIndex, IndexedCapture
from crawl.captures.local import LocalIndex
from crawl.captures.record import CaptureError, FetchedCapture, RecordSource, fetch_record
from crawl.config import CrawlConfig

log = logging.getLogger(__name__)

# Links of one segment: lost work after a kill, and keys of one scan of a columnar index.
GROUP_LINKS: Final = 500
GZIP_LEVEL: Final = 6
COLUMNAR: Final = "columnar:"
# Captures of a page that are tried before the link is lost.
MAX_TRIES: Final = 3


class ArchiveTerms(NamedTuple):
    """The origin of captures, and the wanted ones among them."""

    indexes: Sequence[CaptureIndex]
    source: RecordSource
    client: ArchiveClient | None
    policy: Policy
    window: timedelta


class IndexedLink(NamedTuple):
    """A dead link with its captures in the first index that has one that fits."""

    link: DeadLink
    archive: str
    fitting: list[IndexedCapture]
    all: list[IndexedCapture]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command.run_command(_body, argv, stage="webtext.revive")


def _body(argv: Sequence[str] | None) -> int:
    parser = command.parser("webtext.revive", __doc__ or "", CrawlConfig, "crawl")
    parser.add_argument("--index", action="append", required=True, metavar="SOURCE")
    parser.add_argument("--records", default="", metavar="BASE", help="prefix of record files")
    parser.add_argument("--replay", default="", metavar="ADDRESS", help="replay of raw content")
    parser.add_argument("--policy", choices=("nearest", "before", "after"), default="nearest")
    parser.add_argument("--window-days", type=int, default=730, metavar="DAYS")
    parser.add_argument("--plan", action="store_true", help="count covered links and stop")
    args = parser.parse_args(argv)
    config = command.config(CrawlConfig, "crawl", args)

    with command.open_batch(args, "webtext.revive") as opened:
        remote = any(
            each.startswith(("http://", "https://")) for each in (*args.index, args.records)
        )
        client = ArchiveClient(config.fetch) if remote or args.replay else None
        terms = ArchiveTerms(
            indexes=[open_index(each, client) for each in args.index],
            source=RecordSource(args.records, args.replay),
            client=client,
            policy=args.policy,
            window=timedelta(days=args.window_days),
        )
        if args.plan:
            print(plan(opened.store, args.batch, terms))
            return 0

        counts = revive(opened.store, args.batch, terms)
        print(render(opened.store, args.batch, counts))

    return 0


def open_index(source: str, client: ArchiveClient | None) -> CaptureIndex:
    """The index at an address or path. Raises InputError."""
    if source.startswith(("http://", "https://")):
        if client is None:
            raise InputError(f"--index {source}: no client")
        return CdxServer(source, client)
    if source.startswith(COLUMNAR):
        return ColumnarIndex(source.removeprefix(COLUMNAR))
    return LocalIndex([Path(source)], name=Path(source).name)


def plan(store: Store, batch: str, terms: ArchiveTerms) -> str:
    """Counts the dead links that the indexes cover, as text. No record is fetched."""
    total = covered = size = 0
    for group in groups(store, batch):
        for each in look_up(group, terms):
            total += 1
            covered += bool(each.fitting)
            size += each.fitting[0].length if each.fitting else 0

    share = covered / total if total else 0.0
    return (
        f"{covered:,} of {total:,} dead links have a capture ({share:.0%}), {size:,} bytes to read"
    )


def revive(store: Store, batch: str, terms: ArchiveTerms) -> Counter[str]:
    """Fetches the captures of all dead links that have no receipt yet, and counts all of them."""
    counts: Counter[str] = Counter()
    handled: set[str] = set()
    used: set[str] = set()
    for path, receipt in receipts(store, batch):
        used.add(path)
        handled.update(each["doc_id"] for each in receipt["links"])
        counts.update(receipt["counts"])

    free = (n for n in itertools.count() if path_of(batch, n, RECEIPT) not in used)
    for number, group in zip(free, groups(store, batch, handled), strict=False):
        found = list(_fetched(look_up(group, terms), terms))
        write_segment(store, path_of(batch, number, SEGMENT), found)
        made = Counter(row["outcome"] for row, _ in found)
        rows = [row for row, _ in found]
        receipt_path = path_of(batch, number, RECEIPT)
        store.write_bytes(receipt_path, json.dumps({"counts": made, "links": rows}).encode())
        counts.update(made)
        log.info("%s: %s", receipt_path, dict(made))

    return counts


def groups(
    store: Store, batch: str, handled: Container[str] = frozenset()
) -> Iterator[list[DeadLink]]:
    """Dead links without a receipt, in groups of one segment."""
    links = (each for each in dead_links(store, batch) if each.doc_id not in handled)
    while group := list(islice(links, GROUP_LINKS)):
        yield group


def look_up(group: Sequence[DeadLink], terms: ArchiveTerms) -> list[IndexedLink]:
    """The captures of each link, from the first index that has one that fits."""
    found: dict[str, IndexedLink] = {}
    for index in terms.indexes:
        missing = {each.url: each for each in group if each.url not in found}
        if not missing:
            break
        for url, captures in index.captures(list(missing)):
            fitting = candidates(captures, missing[url].created, terms.policy, terms.window)
            if fitting:
                found[url] = IndexedLink(missing[url], index.name, fitting, captures)

    return [found.get(each.url) or IndexedLink(each, "", [], []) for each in group]


def _fetched(
    links: Sequence[IndexedLink], terms: ArchiveTerms
) -> Iterator[tuple[dict[str, Any], FetchedCapture | None]]:
    """A row of the receipt and the capture of each link; captures of one file are read together."""
    in_order = sorted(
        links,
        key=lambda each: (
            (each.fitting[0].file, each.fitting[0].offset) if each.fitting else ("", 0),
            each.link.doc_id,
        ),
    )
    for each in in_order:
        problems = []
        capture = None
        for candidate in each.fitting[:MAX_TRIES]:
            try:
                capture = fetch_record(candidate, each.all, terms.source, terms.client)
                break
            except CaptureError as error:
                problems.append(str(error))

        outcome = "revived" if capture else "no_record" if problems else "no_capture"
        row = {
            "doc_id": each.link.doc_id,
            "url": each.link.url,
            "why": each.link.why,
            "outcome": outcome,
            "archive": each.archive,
            "captured_at": capture.capture.at.isoformat() if capture else None,
            "record_id": capture.record_id if capture else None,
            "problems": problems,
        }
        yield row, capture


def write_segment(
    store: Store, path: str, found: Sequence[tuple[dict[str, Any], FetchedCapture | None]]
) -> None:
    """Writes the captures of a group, a gzip member each. Without captures there is no file."""
    captures = [capture for _, capture in found if capture is not None]
    if not captures:
        return
    with store.open_output(path) as stream:
        for capture in captures:
            deflater = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
            stream.write(deflater.compress(capture.record()) + deflater.flush())


def render(store: Store, batch: str, counts: Counter[str]) -> str:
    """The counts and the next command, for people."""
    shown = (
        ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "no dead link"
    )
    if not counts["revived"]:
        return shown
    return (
        f"{shown}\nto make a batch of them: webtext crawl --corpus {store.root} "
        f"--batch {batch}-revived --warc {store.root}/{folder(batch)}/*.warc.gz"
    )


if __name__ == "__main__":
    raise SystemExit(main())
