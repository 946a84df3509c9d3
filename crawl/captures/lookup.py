"""Looks links up in indexes of captures and fetches the records of the captures found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from corpus.errors import InputError
from crawl.captures.cdx_server import CdxServer
from crawl.captures.choice import Policy, candidates
from crawl.captures.client import ArchiveClient
from crawl.captures.columnar import ColumnarIndex
from crawl.captures.config import CapturesConfig
from crawl.captures.dead_links import DeadLink
from crawl.captures.index import CaptureIndex, IndexedCapture
from crawl.captures.local import LocalIndex
from crawl.captures.record import CaptureError, FetchedCapture, RecordSource, fetch_record
from crawl.fetch.settings import FetchConfig

COLUMNAR: Final = "columnar:"
REMOTE: Final = ("http://", "https://")
# Captures of a page tried before the link is lost.
MAX_TRIES: Final = 3
# Links per durable group of outcomes and captures: the work that a kill loses.
GROUP_LINKS: Final = 500
# Links of one scan of an index in files.
SCAN_LINKS: Final = 200_000

T = TypeVar("T")


class ArchiveTerms(NamedTuple):
    """The origin of captures, and the wanted ones among them."""

    indexes: Sequence[CaptureIndex]
    source: RecordSource
    client: ArchiveClient | None
    policy: Policy
    window: timedelta

    @property
    def asks_server(self) -> bool:
        """True if a lookup takes requests."""
        return any(isinstance(each, CdxServer) for each in self.indexes)


class Coverage(NamedTuple):
    """The links with a fitting capture among those looked up."""

    total: int
    covered: int
    size: int
    """Bytes of the records of the best captures."""

    @property
    def share(self) -> float:
        """Covered links of all, 0 to 1."""
        return self.covered / self.total if self.total else 0.0


class IndexedLink(NamedTuple):
    """A dead link with its captures in the first index with a fitting one."""

    link: DeadLink
    archive: str
    fitting: list[IndexedCapture]
    """The captures to try, best first."""
    same: list[IndexedCapture]
    """All captures with a payload of these, the originals of revisits among them."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The captures of a link tried without success, and the one fetched."""

    found: IndexedLink
    capture: FetchedCapture | None
    problems: list[str]

    @property
    def outcome(self) -> str:
        """`revived`, `no_record` if the archive gave none, or `no_capture`."""
        if self.capture is not None:
            return "revived"
        return "no_record" if self.problems else "no_capture"


def open_terms(config: CapturesConfig, fetch: FetchConfig) -> ArchiveTerms:
    """Open the indexes of a config. Raises: InputError if one is not there."""
    remote = any(each.startswith(REMOTE) for each in (*config.indexes, config.records))
    client = ArchiveClient(fetch) if remote or config.replay else None
    return ArchiveTerms(
        indexes=[open_index(each, client, config.records) for each in config.indexes],
        source=RecordSource(config.records, config.replay),
        client=client,
        policy=config.policy,
        window=config.window,
    )


def open_index(source: str, client: ArchiveClient | None, records: str = "") -> CaptureIndex:
    """The index at an address or path. Raises InputError."""
    if source.startswith(REMOTE):
        if client is None:
            raise InputError(f"index {source}: no client")
        return CdxServer(source, client)
    if source.startswith(COLUMNAR):
        return ColumnarIndex(source.removeprefix(COLUMNAR))

    path = Path(source)
    return LocalIndex([path], name=path.name, beside=not records)


def look_up(group: Sequence[DeadLink], terms: ArchiveTerms) -> list[IndexedLink]:
    """The captures of each link, from the first index with a fitting one."""
    found: dict[str, IndexedLink] = {}
    for index in terms.indexes:
        missing = {each.url: each for each in group if each.url not in found}
        if not missing:
            break
        spans = {
            url: (each.created - terms.window, each.created + terms.window)
            for url, each in missing.items()
        }
        for url, captures in index.captures(list(missing), spans):
            fitting = candidates(captures, missing[url].created, terms.policy, terms.window)
            if fitting:
                fitting = fitting[:MAX_TRIES]
                digests = {each.digest for each in fitting}
                same = [each for each in captures if each.digest in digests]
                found[url] = IndexedLink(missing[url], index.name, fitting, same)

    return [found.get(each.url) or IndexedLink(each, "", [], []) for each in group]


def in_file_order(links: Sequence[IndexedLink]) -> list[IndexedLink]:
    """Links by the place of their best capture, so those of one file are read together."""
    return sorted(
        links,
        key=lambda each: (
            (each.fitting[0].file, each.fitting[0].offset) if each.fitting else ("", 0),
            each.link.doc_id,
        ),
    )


def fetch_captures(
    links: Sequence[IndexedLink],
    terms: ArchiveTerms,
    check: Callable[[FetchedCapture], None] = lambda capture: None,
) -> Iterator[Attempt]:
    """Yield an attempt at each link. `check` raises CaptureError for an unusable capture."""
    for each in links:
        problems = []
        capture = None
        for candidate in each.fitting:
            try:
                fetched = fetch_record(candidate, each.same, terms.source, terms.client)
                check(fetched)
            except CaptureError as error:
                problems.append(str(error))
            else:
                capture = fetched
                break

        yield Attempt(each, capture, problems)


def pieces(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """`size` items at a time, and the rest."""
    left = iter(items)
    while piece := list(islice(left, size)):
        yield piece


def coverage(links: Iterable[DeadLink], terms: ArchiveTerms, at_once: int) -> Coverage:
    """Look links up, `at_once` together, and count them. No record is fetched."""
    total = covered = size = 0
    for group in pieces(links, at_once):
        for each in look_up(group, terms):
            total += 1
            covered += bool(each.fitting)
            size += each.fitting[0].length if each.fitting else 0
    return Coverage(total, covered, size)
