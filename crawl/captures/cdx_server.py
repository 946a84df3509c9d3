"""Captures of a CDX server: the API of pywb, OpenWayback, the Internet Archive and Common Crawl.

Three forms of answer are read: JSON objects by line (pywb, Common Crawl), one JSON array with a
header row (Internet Archive), and fields parted by spaces (OpenWayback). Long answers continue by
resume key. Sources: the CDX Server APIs of pywb and of the Internet Archive's wayback.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any, Final
from urllib.parse import urlencode

from corpus.errors import RetryableError
from corpus.json_values import json_value
from crawl.captures.client import ArchiveClient
from crawl.captures.index import CaptureIndex, IndexedCapture, Span, parse_timestamp, status_of

log = logging.getLogger(__name__)

PAGE_LINES: Final = 1000
MAX_PAGES: Final = 20
# The fields of a line without names: the format of 11 fields, and the server's own of 7.
_FIELDS: Final = [
    "urlkey",
    "timestamp",
    "original",
    "mimetype",
    "statuscode",
    "digest",
    "redirect",
    "flags",
    "length",
    "offset",
    "filename",
]
_SHORT_FIELDS: Final = [
    "urlkey",
    "timestamp",
    "original",
    "mimetype",
    "statuscode",
    "digest",
    "length",
]
# Fields of pywb and Common Crawl, and of the Internet Archive.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "url": ("url", "original"),
    "mime": ("mime", "mimetype"),
    "status": ("status", "statuscode"),
}
# Statuses of an address not listed or not to be shown.
_NONE: Final = frozenset((400, 403, 404, 451))


class CdxServer(CaptureIndex):
    """The captures listed by a CDX server, one request an address and a page."""

    def __init__(self, api: str, client: ArchiveClient, name: str = "") -> None:
        self._api = api
        self._client = client
        self.name = name or api

    def captures(
        self, urls: Sequence[str], spans: Mapping[str, Span] | None = None
    ) -> Iterator[tuple[str, list[IndexedCapture]]]:
        """Yield each address with its captures in order of time."""
        for url in urls:
            span = spans.get(url) if spans is not None else None
            yield url, sorted(self._captures(url, span), key=lambda each: (each.at, each.digest))

    def _captures(self, url: str, span: Span | None) -> set[IndexedCapture]:
        """All captures of an address, or the first ones and those of the span if there are more."""
        rows, key = self._ask(url, {})
        found = _captures_of(rows)
        if not key and len(rows) < PAGE_LINES:
            return found

        # A server without resume keys, such as pywb, gives no more than the limit.
        query: dict[str, Any] = {} if key else {"limit": MAX_PAGES * PAGE_LINES}
        if span is not None:
            first, last = (at.astimezone(UTC).strftime("%Y%m%d%H%M%S") for at in span)
            query |= {"from": first, "to": last}
            key = ""
        for _ in range(MAX_PAGES):
            rows, key = self._ask(url, query | ({"resumeKey": key} if key else {}))
            found |= _captures_of(rows)
            if not key:
                return found

        log.warning("%s: more than %d captures of %s", self.name, len(found), url)
        return found

    def _ask(self, url: str, more: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
        """A page of the answer, and the key of the next one."""
        query = {"url": url, "output": "json", "limit": PAGE_LINES, "showResumeKey": "true", **more}
        join = "&" if "?" in self._api else "?"
        answer = self._client.get(f"{self._api}{join}{urlencode(query)}")
        if answer.status in _NONE:
            return [], ""
        if answer.status != 200:
            raise RetryableError(f"{self._api}: status {answer.status} for {url}")
        try:
            return parse_lines(answer.body.decode("utf-8", "replace"))
        except ValueError as error:
            raise RetryableError(
                f"{self._api}: not the answer of an index of captures ({error}) for {url}"
            ) from error


def parse_lines(text: str) -> tuple[list[dict[str, Any]], str]:
    """(rows by field, resume key or an empty string) of an answer in any of the three forms.

    Raises: ValueError if it has another form.
    """
    text = text.strip()
    if text.startswith("["):
        lists = json_value(text)
        if not all(isinstance(each, list) and _are_fields(each) for each in lists):
            raise ValueError("an array of other values than rows of fields")
        return _parse_array(lists)

    rows: list[dict[str, Any]] = []
    lines = text.splitlines()
    key = ""
    if len(lines) > 1 and not lines[-2].strip():
        key = lines.pop().strip()
    for line in lines:
        if not line.strip():
            continue
        start = line.find("{")
        if start >= 0:
            # A CDXJ line begins with key and timestamp.
            head = line[:start].split()
            row = json_value(line[start:])
            if len(head) == 2:
                row.setdefault("timestamp", head[1])
            rows.append(row)
        else:
            values = line.split(" ")
            names = _FIELDS if len(values) >= len(_FIELDS) else _SHORT_FIELDS
            rows.append(dict(zip(names, values, strict=False)))

    return rows, key


def _are_fields(row: list[Any]) -> bool:
    return all(each is None or isinstance(each, str | int) for each in row)


def _parse_array(rows: list[list[str]]) -> tuple[list[dict[str, Any]], str]:
    key = ""
    if len(rows) > 1 and rows[-2] == []:
        key = rows[-1][0]
        rows = rows[:-2]
    if not rows:
        return [], key
    header, *lines = rows
    return [dict(zip(header, line, strict=False)) for line in lines if line], key


def _captures_of(rows: Sequence[Mapping[str, Any]]) -> set[IndexedCapture]:
    return {found for row in rows if (found := capture_of(row)) is not None}


def capture_of(row: Mapping[str, Any]) -> IndexedCapture | None:
    """The capture in a row, or None if it has no address or time."""
    url = _field(row, "url")
    at = parse_timestamp(str(row.get("timestamp", "")))
    if not url or at is None:
        return None

    return IndexedCapture(
        url=url,
        at=at,
        status=status_of(_field(row, "status")),
        mime=_field(row, "mime"),
        digest=str(row.get("digest", "")).removeprefix("sha1:"),
        file=str(row.get("filename", "")),
        offset=status_of(row.get("offset")) or 0,
        length=status_of(row.get("length")) or 0,
    )


def _field(row: Mapping[str, Any], name: str) -> str:
    return next((str(row[each]) for each in _NAMES[name] if row.get(each)), "")
