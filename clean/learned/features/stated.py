"""Features of the article text stated by a page for machines (JSON-LD `articleBody`).

It tells the page's own article from the next ones. Many sites state only its beginning.
"""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Final

import numpy as np

from clean.learned.blocks import PageBlocks
from clean.learned.features.registry import STATED
from clean.learned.layout import END, START, WORDS

_KEY: Final = b'"articleBody"'
_VALUE = re.compile(rb'"articleBody"\s*:\s*("(?:[^"\\]|\\.){200,2000000}")')
_TAG = re.compile(r"<[^<>]*>")
_NO_WORD = re.compile(r"[\W_]+")
_LEAST_WORDS: Final = 4
_MAX_WORDS: Final = 1000
_MAX_DISTANCE: Final = 100


def describe_stated(page: PageBlocks, out: np.ndarray) -> None:
    """Fill the columns of STATED; -1 on pages without such a text."""
    body = _body(page.source)
    if len(body) < 100:
        out[:, list(STATED)] = -1
        return

    content = page.text.tobytes()
    num = page.place.shape[0]
    found = np.zeros(num, np.float32)
    covered = 0
    for block in np.flatnonzero(page.counts[:, WORDS] >= _LEAST_WORDS).tolist():
        place = page.place[block]
        text = content[place[START] : place[END]].decode("utf-8", "replace")
        key = _key(text)
        if key in body:
            found[block] = 1
            covered += len(key)

    out[:, STATED.own] = found
    out[:, STATED.words] = min(len(body) // 5, _MAX_WORDS)
    out[:, STATED.covered] = min(covered / len(body), 2.0)
    where = np.flatnonzero(found)
    blocks = np.arange(num)
    if where.size:
        before = np.minimum(blocks - where[0], 0)
        after = np.maximum(blocks - where[-1], 0)
        out[:, STATED.distance] = np.clip(before + after, -_MAX_DISTANCE, _MAX_DISTANCE)
    else:
        out[:, STATED.distance] = -1000


def _body(source: bytes) -> str:
    """The longest stated text, as `_key` has it."""
    longest = b""
    if _KEY in source:
        for match in _VALUE.finditer(source):
            longest = max(longest, match[1], key=len)
    if not longest:
        return ""

    try:
        text = json.loads(longest, strict=False)
    except ValueError:
        return ""
    return _key(_TAG.sub(" ", unescape(text)))


def _key(text: str) -> str:
    """The letters and digits of a text, in lower case."""
    return _NO_WORD.sub("", (unescape(text) if "&" in text else text).lower())
