"""The text of script-drawn pages: data for machines inside the page.

It is used only if the page itself shows next to nothing. The `articleBody` of JSON-LD (schema.org)
comes first, then the state of frameworks (Next.js, Nuxt and the like): of all lists and objects in
it, the one with most words in its own texts.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from html import unescape
from typing import Any, Final

# A page that shows more words has a body of its own.
MAX_SHOWN_WORDS: Final = 60
# Least words of an embedded text.
MIN_WORDS: Final = 50
# Shorter strings of a state are labels and names.
MIN_STRING_WORDS: Final = 8
MAX_JSON_CHARS: Final = 4_000_000
MAX_DEPTH: Final = 60
_SCRIPT_START = re.compile(r"<script(?=[\s>])([^<>]*)>", re.I)
_STATE = re.compile(
    r"(?:window\.)?__(?:NEXT_DATA|NUXT|NUXT_DATA|INITIAL_STATE|APOLLO_STATE|PRELOADED_STATE|DATA)__"
)
_BREAK = re.compile(r"</(?:p|div|li|h[1-6]|blockquote|tr|section)>|<br\s*/?>", re.I)
_TAG = re.compile(r"</?[A-Za-z!][^<>]{0,2000}>")
_ANY_TAG = re.compile(r"<[A-Za-z/!?]")
_NOT_TEXT = re.compile(r"\s*(?:[{\[<]|https?://|data:|/)|[^\s]{200}")


def is_plain(text: str) -> bool:
    """True for text without markup that was sent as HTML. JSON is not text."""
    return not _ANY_TAG.search(text) and text.lstrip()[:1] not in ("", "{", "[")


def embedded_text(html: str) -> str:
    """The longest text in the page's data for machines, or empty."""
    bodies: list[str] = []
    states: list[str] = []
    for attributes, content in _scripts(html):
        if "ld+json" in attributes:
            bodies += _article_bodies(_parsed(content), 0)
        elif _STATE.search(attributes) or _STATE.search(content[:500]):
            states.append(_largest_group(_parsed(content)))

    for found in (bodies, states):
        text = max(map(_plain, found), key=len, default="")
        if len(text.split()) >= MIN_WORDS:
            return text

    return ""


def _scripts(html: str) -> Iterator[tuple[str, str]]:
    """(attributes, content) of each script that is not too long to read."""
    lower_end = re.compile(r"</script", re.I)
    position = 0
    while start := _SCRIPT_START.search(html, position):
        end = lower_end.search(html, start.end())
        position = end.start() if end else len(html)
        if position - start.end() <= MAX_JSON_CHARS:
            yield start[1], html[start.end() : position]


def _parsed(content: str) -> Any:
    """The first JSON object or list in a script, or None."""
    start = min((n for n in (content.find("{"), content.find("[")) if n >= 0), default=-1)
    if start < 0:
        return None

    try:
        return json.JSONDecoder(strict=False).raw_decode(content, start)[0]
    except (ValueError, RecursionError):
        return None


def _article_bodies(value: Any, depth: int) -> list[str]:
    if depth > MAX_DEPTH:
        return []
    if isinstance(value, list):
        return [text for each in value for text in _article_bodies(each, depth + 1)]
    if not isinstance(value, dict):
        return []

    body = value.get("articleBody")
    own = [body] if isinstance(body, str) else []
    return own + [text for each in value.values() for text in _article_bodies(each, depth + 1)]


def _largest_group(value: Any) -> str:
    """The texts of one list or object of a state: those that together have most words."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path, text in _strings(value, (), 0):
        groups[path].append(text)
    return "\n\n".join(max(groups.values(), key=lambda texts: sum(map(len, texts)), default=[]))


def _strings(
    value: Any, path: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path to the list or object that holds it, text) of each longer string, in order."""
    if depth > MAX_DEPTH:
        return

    if isinstance(value, str):
        is_text = not _NOT_TEXT.match(value) or value.lstrip().startswith("<p")
        if is_text and len(value.split()) >= MIN_STRING_WORDS:
            yield path, value
    elif isinstance(value, list):
        # Entries of a list are together, whatever objects they are in.
        for each in value:
            yield from _strings(each, path, depth + 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _strings(each, (*path, key), depth + 1)


def _plain(text: str) -> str:
    """`text` without markup, a line for each block."""
    if "<" in text:
        text = _TAG.sub("", _BREAK.sub("\n\n", text))
    paragraphs = (" ".join(line.split()) for line in unescape(text).split("\n"))
    return "\n\n".join(line for line in paragraphs if line)
