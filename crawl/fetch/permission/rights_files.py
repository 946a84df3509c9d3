"""Files about rights, requested by a crawl: tdmrep.json of sites, and RSL documents.

A file is fetched once and kept for as long as a robots.txt. Pages in need of it wait for it, as
they wait for robots.txt. RSL documents are asked for although robots.txt of their host is not read:
the site names them for crawlers to read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from corpus.rights.statements import FILE, Answer, Signal, Statement, statement
from crawl.fetch.permission.aged_cache import AgedCache
from crawl.rights import rsl, tdmrep

# Bytes read of a file, and bytes of all files kept by a worker.
MAX_FILE_BYTES = rsl.MAX_DOCUMENT_BYTES
MAX_KEPT_BYTES = 32 << 20
ENTRY_BYTES = 400
# Most licence documents named by one robots.txt or one page.
MAX_LICENCES = 4
MAX_REDIRECTS = 5


class FileKind(StrEnum):
    """The kinds of requested files."""

    TDMREP = "tdmrep"
    RSL = "rsl"
    PROBE = "probe"
    """Not a file about rights: the answer for an address that cannot exist (`crawl.fetch.probe`).
    """


class FileKey(NamedTuple):
    """A file: its kind and its address."""

    kind: FileKind
    url: str


@dataclass(frozen=True, slots=True)
class RightsFile:
    """The answer to a request for a file."""

    body: bytes | None = None
    """None: there is no such file, or it could not be read."""
    cause: str | None = None
    """What made it unreadable; None if it was read or is not there."""
    evidence: str = ""
    """The id of its WARC record."""

    def read(self, key: FileKey, page_url: str, place: str = FILE) -> list[Statement]:
        """The statements of the file about a page."""
        if self.cause is not None:
            signal = Signal.TDMREP if key.kind is FileKind.TDMREP else Signal.RSL
            return [statement(signal, self.cause, place, key.url, Answer.UNREADABLE)]
        if self.body is None:
            return []
        if key.kind is FileKind.TDMREP:
            return tdmrep.read_file(self.body, key.url, page_url)
        return rsl.read_document(self.body, page_url, place=place, where=key.url)


@dataclass(frozen=True, slots=True)
class Findings:
    """The state of a page's rights so far."""

    statements: tuple[Statement, ...] = ()
    evidence: tuple[str, ...] = ()
    """Ids of WARC records."""
    says_itself: bool = False
    """True if the response or an element of the page is among the sources."""


class FileCache(AgedCache[FileKey, RightsFile]):
    """Files by key."""

    def __init__(self, keep_s: float, max_bytes: int = MAX_KEPT_BYTES) -> None:
        super().__init__(keep_s, max_bytes)

    def _size(self, key: FileKey, file: RightsFile) -> int:
        return ENTRY_BYTES + len(key.url) + len(file.body or b"")
