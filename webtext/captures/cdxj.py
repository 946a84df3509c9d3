"""CDXJ: one line for each stored answer, sorted by address and time, as pywb and wabac.js read it.

com,example)/page 20240102030405 {"url": ..., "status": "200", "offset": ..., "filename": ...}
"""

from __future__ import annotations

import heapq
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import PurePosixPath
from typing import Any, TextIO

from fastwarc.warc import ArchiveIterator, WarcRecordType

from corpus.storage.store import Store
from corpus.tables.segments import segment_files
from crawl.captures.index import REVISIT, surt
from crawl.warc.archives import http_response
from crawl.warc.records import warc_date

# Sorted files that are open at once: a crawl has a thousand segments, and systems allow 1,024 files.
MOST_RUNS = 256


def index_lines(store: Store, batch: str) -> Iterator[str]:
    """All lines of a batch in order, without line ends. Memory: one segment's lines."""
    with ExitStack() as stack:
        runs: list[TextIO] = []
        for path, _ in segment_files(store, batch):
            runs.append(stack.enter_context(_run(sorted(_segment_lines(store, path)))))
            if len(runs) == MOST_RUNS:
                merged = stack.enter_context(_run(_merged(runs)))
                for each in runs:
                    each.close()
                runs = [merged]
        yield from _merged(runs)


@contextmanager
def _run(lines: Iterable[str]) -> Iterator[TextIO]:
    """A temporary file with these lines, to be read from its beginning."""
    # Line ends as they are: an address may hold others.
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as run:
        run.writelines(f"{line}\n" for line in lines)
        run.seek(0)
        yield run


def _merged(runs: Iterable[TextIO]) -> Iterator[str]:
    return heapq.merge(*map(_lines, runs))


def _lines(run: TextIO) -> Iterator[str]:
    for line in run:
        yield line.rstrip("\n")


def _segment_lines(store: Store, path: str) -> Iterator[str]:
    with store.open_input(path) as stream:
        pending: tuple[int, dict[str, Any] | None] | None = None
        for record in ArchiveIterator(stream, parse_http=False):
            # A record ends where the next one begins.
            if pending is not None and (line := _line(pending, record.stream_pos, path)):
                yield line
            pending = (record.stream_pos, _fields(record))
        if pending is not None and (line := _line(pending, stream.size(), path)):
            yield line


def _fields(record: Any) -> dict[str, Any] | None:
    """The values of a record's line; None for a record other than an answer."""
    kind = record.record_type
    if kind not in (WarcRecordType.response, WarcRecordType.revisit):
        return None

    headers = record.headers
    at = warc_date(headers.get("WARC-Date") or "")
    url = (headers.get("WARC-Target-URI") or "").strip("<>")
    answer = http_response(record.reader.read())
    if at is None or not url or answer is None:
        return None

    revisit = kind == WarcRecordType.revisit
    mime = (answer.header("content-type") or "").partition(";")[0].strip().lower()
    return {
        # A space ends the key, and an archive's address may hold one.
        "key": surt(url).replace(" ", "%20"),
        "time": f"{at:%Y%m%d%H%M%S}",
        "url": url,
        "mime": REVISIT if revisit else mime or "unk",
        "status": str(answer.status),
        "digest": (headers.get("WARC-Payload-Digest") or "").removeprefix("sha1:"),
    }


def _line(pending: tuple[int, dict[str, Any] | None], end: int, path: str) -> str | None:
    start, fields = pending
    if fields is None:
        return None
    place = {"length": str(end - start), "offset": str(start)}
    fields = fields | place | {"filename": PurePosixPath(path).name}
    key, time = fields.pop("key"), fields.pop("time")
    return f"{key} {time} {json.dumps(fields, ensure_ascii=True)}"
