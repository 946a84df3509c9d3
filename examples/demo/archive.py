"""A small web archive on loopback: the index and the replay of pages that are gone."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

from examples.demo.server import Answer

HOST: Final = "127.0.0.1"
# The dump is of December 2017: a capture of that time, and one of a site that has changed hands.
THEN, LATER = "20171120120000", "20190301120000"
CHANGED_HANDS: Final = (
    b"<title>For sale</title><p>This address has a new owner, who sells lamps and clocks.</p>"
)


def answers(url: str, body: bytes) -> Iterator[tuple[str, Answer]]:
    """Yield the targets and answers of an archive that holds two captures of a page."""
    captures = ((THEN, body), (LATER, CHANGED_HANDS))
    yield _index_target(url), Answer(_index(url, captures), content_type="text/x-ndjson")
    for timestamp, page in captures:
        yield f"/web/{timestamp}id_/{url}", Answer(page)


def settings(port: int) -> str:
    """The settings of a crawl that asks this archive."""
    root = f"http://{HOST}:{port}"
    return (
        f'[crawl.captures]\nindexes = ["{root}/cdx"]\n'
        f'replay = "{root}/web/{{timestamp}}id_/{{url}}"\n'
    )


def _index_target(url: str) -> str:
    query = {"url": url, "output": "json", "limit": "1000", "showResumeKey": "true"}
    return f"/cdx?{urlencode(query)}"


def _index(url: str, captures: tuple[tuple[str, bytes], ...]) -> bytes:
    lines = [
        json.dumps(
            {
                "url": url,
                "timestamp": timestamp,
                "mime": "text/html",
                "status": "200",
                "digest": base64.b32encode(hashlib.sha1(body).digest()).decode(),
            }
        )
        for timestamp, body in captures
    ]
    return "\n".join(lines).encode() + b"\n"
