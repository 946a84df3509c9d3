"""Revives the dead links of a batch from web archives, as WARC files for another batch.

    webtext revive --corpus C --batch B --index SOURCE --plan
    webtext revive --corpus C --batch B --index SOURCE [--records BASE] [--replay ADDRESS]
    webtext crawl  --corpus C --batch B-revived --warc C/revived/B/*.warc.gz

SOURCE is the address of a CDX server, a Parquet file or folder of a columnar index
(`columnar:PATH`), or a CDXJ, WARC or WACZ file. It may be given several times; the first index with
a capture wins. Options not given are those of `[crawl.captures]`. Records are read by range below
BASE, or through ADDRESS, a replay of raw content with `{timestamp}` and `{url}`.

A group of links is one segment, written before its receipt. A killed run continues with the groups
without a receipt.
"""

from __future__ import annotations

import itertools
import json
import logging
import zlib
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from typing import Any, Final

from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import Store
from crawl.captures.dead_links import DeadLink, dead_links
from crawl.captures.groups import RECEIPT, SEGMENT, folder, path_of, receipts
from crawl.captures.lookup import (
    GROUP_LINKS,
    ArchiveTerms,
    IndexedLink,
    coverage,
    fetch_captures,
    in_file_order,
    look_up,
    open_terms,
    pieces,
)
from crawl.captures.record import FetchedCapture
from crawl.config import CrawlConfig

log = logging.getLogger(__name__)

GZIP_LEVEL: Final = 6


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command.run_command(_body, argv, stage="webtext.revive")


def _body(argv: Sequence[str] | None) -> int:
    parser = command.parser("webtext.revive", __doc__ or "", CrawlConfig, "crawl")
    parser.add_argument("--index", action="append", metavar="SOURCE", help="index of captures")
    parser.add_argument("--records", default="", metavar="BASE", help="prefix of record files")
    parser.add_argument("--replay", default="", metavar="ADDRESS", help="replay of raw content")
    parser.add_argument("--policy", choices=("nearest", "before", "after"))
    parser.add_argument("--window-days", type=int, metavar="DAYS")
    parser.add_argument("--plan", action="store_true", help="count covered links and stop")
    args = parser.parse_args(argv)
    config = command.config(CrawlConfig, "crawl", args)

    given = {
        "indexes": tuple(args.index or ()),
        "records": args.records,
        "replay": args.replay,
        "policy": args.policy,
        "window_days": args.window_days,
    }
    named = {name: value for name, value in given.items() if value not in (None, "", ())}
    captures = config.captures.model_copy(update=named)
    if not captures.indexes:
        raise InputError("no index of captures: name one with --index or crawl.captures.indexes")

    with command.open_batch(args, "webtext.revive") as opened:
        terms = open_terms(captures, config.fetch)
        if args.plan:
            print(plan(opened.store, args.batch, terms))
            return 0

        counts = revive(opened.store, args.batch, terms)
        print(render(opened.store, args.batch, counts))

    return 0


def plan(store: Store, batch: str, terms: ArchiveTerms) -> str:
    """Counts the dead links covered by the indexes, as text. No record is fetched."""
    found = coverage(dead_links(store, batch), terms, GROUP_LINKS)
    return (
        f"{found.covered:,} of {found.total:,} dead links have a capture ({found.share:.0%}), "
        f"{found.size:,} bytes to read"
    )


def revive(store: Store, batch: str, terms: ArchiveTerms) -> Counter[str]:
    """Fetches the captures of all dead links without a receipt, and counts all of them."""
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
    return pieces(links, GROUP_LINKS)


def _fetched(
    links: Sequence[IndexedLink], terms: ArchiveTerms
) -> Iterator[tuple[dict[str, Any], FetchedCapture | None]]:
    """A row of the receipt and the capture of each link; captures of one file are read together."""
    for each in fetch_captures(in_file_order(links), terms):
        link, capture = each.found.link, each.capture
        row = {
            "doc_id": link.doc_id,
            "url": link.url,
            "why": link.why,
            "outcome": each.outcome,
            "archive": each.found.archive,
            "captured_at": capture.capture.at.isoformat() if capture else None,
            "record_id": capture.record_id if capture else None,
            "problems": each.problems,
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
