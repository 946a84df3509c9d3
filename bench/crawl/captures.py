"""Captures from archives: the right one of each history, and the cost of a link.

    python -m bench.crawl.captures [--histories 1000] [--captures 10]

Made histories (several captures, redirects, revisits, wrong statuses and types, before and after
the submission) are asked for by a crawl with `crawl.fetch.archive = "only"`, by four ways: a
columnar index with ranges of a WARC file, a CDX server with ranges, a local WARC file, and pywb's
index and replay if WEBTEXT_PYWB names its environment. Every 40th request of the first two fails
with 429 or 503. A row is right if its capture and its body are those of the made history.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

from corpus.storage.store import open_store
from crawl import run
from crawl.captures import client
from crawl.warc import records
from tests.crawl.captures.made_archive import Archive, ArchiveServer, columnar_index
from tests.crawl.captures.pywb import Pywb, tool
from tests.crawl.loopback import Batch

# The submissions of `Batch.links`, and the settings of every way.
WHEN = datetime(2024, 1, 1, tzinfo=UTC)
WINDOW_DAYS = 7000
DELAY_S = 0.002
FAILS_EVERY = 40
RETRY_WAIT_S = 0.05


class Referee(ArchiveServer):
    """A server that fails now and then, and notes the times of its requests."""

    def __init__(self, archive: Archive) -> None:
        self.times: list[tuple[float, float]] = []
        self._lock = threading.Lock()
        super().__init__(archive)
        self.page = 1000

    def answer(self, path: str, asked: str | None) -> tuple[int, dict[str, str], bytes]:
        began = time.monotonic()
        with self._lock:
            number = len(self.times)
            if path != "/robots.txt" and number % FAILS_EVERY == FAILS_EVERY - 1:
                answer: tuple[int, dict[str, str], bytes] = (
                    (429, {"Retry-After": "0"}, b"") if number % 2 else (503, {}, b"")
                )
            else:
                answer = super().answer(path, asked)
            self.times.append((began, time.monotonic()))
        return answer


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON object for each way."""
    parser = argparse.ArgumentParser(prog="bench.crawl.captures", description=__doc__)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--captures", type=int, default=10, help="captures of a history")
    args = parser.parse_args(argv)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = Archive(folder, args.histories, seed=3, captures=args.captures)
        for name, way in (
            ("columnar index, ranges", columnar),
            ("CDX server, ranges", cdx),
            ("local WARC file", local),
            ("pywb, index and replay", pywb),
        ):
            place = folder / name.split()[0]
            place.mkdir()
            if way is pywb and tool("wayback") is None:
                continue
            print(json.dumps({"way": name, **way(archive, place)}))

    return 0


def columnar(archive: Archive, folder: Path) -> dict[str, Any]:
    """Common Crawl's way: a table in Parquet, and a store with ranges."""
    index = columnar_index(archive, folder / "index.parquet")
    return refereed(archive, folder, lambda root: f"columnar:{index}")


def cdx(archive: Archive, folder: Path) -> dict[str, Any]:
    """A request for the captures of a page, and one for its record."""
    return refereed(archive, folder, lambda root: f"{root}/cdx/lines")


def refereed(archive: Archive, folder: Path, index: Callable[[str], str]) -> dict[str, Any]:
    """A crawl whose records come from a server that fails and keeps the times."""
    server = Referee(archive)
    try:
        found = measure(
            archive, folder, {"indexes": [index(server.root)], "records": f"{server.root}/files/"}
        )
    finally:
        server.close()

    gaps = [after[0] - before[1] for before, after in pairwise(server.times)]
    requests = len(server.times)
    return {
        **found,
        "requests_a_link": round(requests / found["links"], 2),
        "failed_requests": requests // FAILS_EVERY,
        "least_gap_ms": round(1000 * min(gaps), 2),
        "asked_gap_ms": 1000 * DELAY_S,
    }


def local(archive: Archive, folder: Path) -> dict[str, Any]:
    """A WARC file on this machine."""
    return measure(archive, folder, {"indexes": [str(archive.path)]})


def pywb(archive: Archive, folder: Path) -> dict[str, Any]:
    """The index and the replay of pywb."""
    served = Pywb(archive, folder)
    try:
        replay = served.root + "/made/{timestamp}id_/{url}"
        return measure(archive, folder, {"indexes": [f"{served.root}/made/cdx"], "replay": replay})
    finally:
        served.close()


def measure(archive: Archive, folder: Path, captures: dict[str, Any]) -> dict[str, Any]:
    """Crawl all histories, and compare each row with the made history."""
    batch = Batch(folder, str(folder / "corpus"), 1, {"delay_s": DELAY_S, "jitter_frac": 0.0})
    batch.links([*archive.captures])
    settings = {"window_days": WINDOW_DAYS, **captures}
    sets = [f"crawl.captures.{name}={json.dumps(value)}" for name, value in settings.items()]
    sets.append('crawl.fetch.archive="only"')
    arguments = [word for each in sets for word in ("--set", each)]
    began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with (
        mock.patch.object(client, "FIRST_WAIT_S", RETRY_WAIT_S),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        code = run.main([*batch.arguments, *arguments, "--executor", "serial"])
    if code:
        raise SystemExit(code)

    wall = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime - used
    rows = batch.pages()
    right = sum(is_right(archive, batch.root, row) for row in rows)
    return {
        "links": len(rows),
        "right": right,
        "revived": sum(row["reason"] is None for row in rows),
        "stored_bytes_a_page": round(
            sum(row["warc_length"] or 0 for row in rows) / max(1, len(rows))
        ),
        "cpu_ms_a_link": round(1000 * used / len(rows), 2),
        "wall_ms_a_link": round(1000 * wall / len(rows), 2),
    }


def is_right(archive: Archive, root: str, row: dict[str, Any]) -> bool:
    """True if a row has the nearest capture of a page, and its body."""
    pages = [
        each
        for each in archive.captures[row["url"]]
        if archive.is_page(each) and abs(each.at - WHEN) <= timedelta(days=WINDOW_DAYS)
    ]
    if not pages:
        return bool(row["reason"] == "no_capture")

    best = min(pages, key=lambda each: (abs(each.at - WHEN), each.at))
    if row["captured_at"] != best.at:
        return False
    place = row["warc_file"], row["warc_offset"], row["warc_length"]
    found = records.read_response(open_store(root), *place).body
    return found == archive.payloads[row["url"], best.timestamp]


if __name__ == "__main__":
    raise SystemExit(main())
