"""The open WARC segment of a worker and its outcomes, until they are durable.

A commit is cut off in the event loop and carried out in a thread, one after another: segment first,
then its outcomes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from corpus.errors import FatalError
from corpus.storage.store import Store
from crawl.fetch.requests import FetchResult
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import Outcome, segment_path, write_outcomes
from crawl.warc.writer import SegmentWriter, digest, http_block, record_id

# Compression of WARC records: of the levels, the best pages per second on two cores.
GZIP_LEVEL = 3
# WARC field of a response whose server showed no valid certificate, or whose certificate was not
# looked at.
TLS_UNVERIFIED = (("X-Crawler-TLS-Verified", "false"),)


@dataclass(slots=True)
class Commit:
    """A unit to make durable: outcomes, and the segment with their records, if there is one."""

    index: int
    outcomes: list[Outcome]
    segment: SegmentWriter | None


class Ledger:
    """Takes outcomes and responses, and cuts commits. Times are monotonic seconds."""

    def __init__(
        self,
        store: Store,
        warc_prefix: str,
        out_dir: Path,
        config: FetchConfig,
        *,
        first_index: int,
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        """`confirm()` is called before each commit, and raises if this worker may make none."""
        self._confirm = confirm
        self._store = store
        self._warc_prefix = warc_prefix
        self._out_dir = out_dir
        self._config = config
        self._next_index = first_index
        self._segment: SegmentWriter | None = None
        self._segment_index = -1
        self._opened_at = 0.0
        self._pointing: list[Outcome] = []
        self._loose: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Note an outcome without a stored page.

        An outcome that points to evidence waits for the open segment, which may hold it: every
        record named by a row exists.
        """
        waits = outcome.evidence and self._segment is not None
        (self._pointing if waits else self._loose).append(outcome)

    def add_page(self, outcome: Outcome, result: FetchResult) -> None:
        """Store a page and note its outcome with the place of its record. Raises FatalError."""
        outcome.payload_digest = digest(result.wire)
        record = self.store(result, outcome.payload_digest, outcome)
        if outcome.says_itself:
            outcome.evidence = [*(outcome.evidence or ()), record]
        self._pointing.append(outcome)

    def add_refusal(self, outcome: Outcome, result: FetchResult) -> None:
        """Note a page with a refusal of training: its headers and words are kept, not its body."""
        emptied = replace(result, wire=b"", body=b"", truncated="unspecified")
        record = self.store(emptied)
        assert result.fetched_at is not None
        words = json.dumps({"signals": outcome.signals}, ensure_ascii=False)
        self._open().add_metadata(result.url, words, about=record, at=result.fetched_at)
        outcome.evidence = [*(outcome.evidence or ()), record]
        self._pointing.append(outcome)

    def store(
        self, result: FetchResult, payload_digest: str | None = None, outcome: Outcome | None = None
    ) -> str:
        """Write the record of a response into the open segment; its id. Raises FatalError."""
        assert result.fetched_at is not None
        unverified = not self._config.verify_tls and result.url.startswith("https:")
        segment = self._open()
        response_id = record_id()
        place = segment.add_response(
            result.url,
            block=http_block(result.status_line, result.headers, result.wire),
            payload_digest=payload_digest or digest(result.wire),
            fetched_at=result.fetched_at,
            ip=result.ip,
            truncated=result.truncated,
            request_block=result.request_block if self._config.store_requests else None,
            fields=TLS_UNVERIFIED if unverified else (),
            response_id=response_id,
            num_compressed=len(result.wire) if len(result.wire) < len(result.body) else 0,
        )

        if outcome is not None:
            outcome.warc_file = segment.path
            outcome.warc_offset = place.offset
            outcome.warc_length = place.length
        return response_id.strip("<>")

    def due(self, now: float) -> Commit | None:
        """The open segment with its outcomes, if it is full or old."""
        if self._segment is None:
            return None
        full = self._segment.size >= self._config.segment_bytes
        return self._cut() if full or now - self._opened_at >= self._config.segment_age_s else None

    def loose(self) -> Commit | None:
        """Cut the outcomes without a record; the open segment stays open."""
        if not self._loose:
            return None
        outcomes, self._loose = self._loose, []
        return Commit(self._take_index(), outcomes, None)

    def rest(self) -> Commit | None:
        """Cut everything left."""
        return self._cut() if self._segment is not None else self.loose()

    def carry_out(self, commit: Commit) -> None:
        """Make a commit durable, segment first. Blocks; for a thread. Raises FatalError."""
        self._confirm()
        if commit.segment is not None:
            commit.segment.commit()
        write_outcomes(self._out_dir, commit.index, commit.outcomes)

    def _open(self) -> SegmentWriter:
        if self._segment is None:
            self._segment_index = self._take_index()
            self._opened_at = time.monotonic()
            self._segment = SegmentWriter(
                self._store,
                segment_path(self._warc_prefix, self._segment_index),
                info=segment_info(self._config),
                gzip_level=GZIP_LEVEL,
            )

        return self._segment

    def _cut(self) -> Commit:
        outcomes = [*self._pointing, *self._loose]
        commit = Commit(self._segment_index, outcomes, self._segment)
        self._segment, self._pointing, self._loose = None, [], []
        return commit

    def _take_index(self) -> int:
        index = self._next_index
        self._next_index += 1
        return index


class Committer:
    """Carries out commits in its own thread: a slow disk delays no request."""

    def __init__(
        self,
        ledger: Ledger,
        failed: Callable[[FatalError], None],
        ended: Callable[[Sequence[Outcome]], None] = lambda outcomes: None,
    ) -> None:
        """`failed(error)` takes errors, `ended(outcomes)` the outcomes of each commit."""
        self._ledger = ledger
        self._failed = failed
        self._notify = ended
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._running: set[asyncio.Future[None]] = set()

    def start(self, commit: Commit | None) -> None:
        """Begin to carry out a commit, if there is one; its errors go to `failed`."""
        if commit is None:
            return
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._thread, self._ledger.carry_out, commit)
        self._running.add(future)
        future.add_done_callback(partial(self._ended, commit))

    async def close(self) -> None:
        """Wait for all commits."""
        if self._running:
            await asyncio.wait(self._running)
        self._thread.shutdown()

    def _ended(self, commit: Commit, future: asyncio.Future[None]) -> None:
        self._running.discard(future)
        error = future.exception()
        if error is None:
            self._notify(commit.outcomes)
        else:
            self._failed(
                error
                if isinstance(error, FatalError)
                else FatalError(f"cannot keep pages: {error!r}")
            )


def segment_info(config: FetchConfig) -> dict[str, str]:
    """The fields of a segment's `warcinfo` record."""
    return {
        "software": "webtext (Scrapy, aiohttp)",
        "format": "WARC File Format 1.1",
        "conformsTo": "http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/",
        "robots": "RFC 9309",
        "http-header-user-agent": config.user_agent_header,
        "tls-verified": str(config.verify_tls).lower(),
    }
