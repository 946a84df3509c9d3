"""Sentences that hold elements of other kinds: controls, quotations, raised numbers."""

from __future__ import annotations

import re

from clean.rewrite.elements import without_tags

_BUTTON = re.compile(r"<button(?=[\s>])[^<>]*>\s*([^<>]{1,40}?)\s*</button>", re.I)
_SELECT = re.compile(
    r"<select(?=[\s>])[^<>]*>\s*<option[^<>]*>([^<>]{1,40})(?:(?!</select).){0,2000}</select>",
    re.I | re.S,
)
_BEFORE = re.compile(r"[\w,;:(\"'] $")
_AFTER = re.compile(r"[ ,.;:)](?!\s*<)")
_QUOTE = re.compile(r"<q(?=[\s>])[^<>]*>((?:(?!</?q[\s>]).){1,2000}?)</q>", re.I | re.S)
_SUP = re.compile(r"<sup(?=[\s>])[^<>]*>((?:(?!</?sup[\s>]).){1,300}?)</sup>", re.I | re.S)
_EXPONENT = re.compile(r"(?:[-+\u2212\u2013]?\d{1,4}|[a-zA-Z]|[a-z][+-]\d)")
_BASE = re.compile(r"(?:\d|\)|(?:^|[^A-Za-z])[A-Za-z\u0370-\u03ff]{1,3})$")
_NOTE = re.compile(r"\[?\s*(\d{1,3}|[a-z*\u2020\u2021])\s*\]?")


def with_whole_sentences(html: str, signs: frozenset[str]) -> str:
    """`html` with controls in a sentence as words, quotation marks, exponents and note marks."""
    if "button" in signs:
        html = _BUTTON.sub(_control, html)
    if "select" in signs:
        html = _SELECT.sub(_control, html)
    if "q" in signs:
        html = _QUOTE.sub("\u201c\\1\u201d", html)
    if "sup" in signs:
        html = _SUP.sub(_raised, html)
    return html


def _control(found: re.Match[str]) -> str:
    """The label of a control that stands between words, and any other control as it was."""
    html, start, end = found.string, found.start(), found.end()
    in_sentence = _BEFORE.search(html[max(0, start - 2) : start]) and _AFTER.match(html, end)
    return found[1] if in_sentence else found[0]


def _raised(found: re.Match[str]) -> str:
    """A power as `^2`, the mark of a note in brackets, and anything else as it was."""
    before = found.string[max(0, found.start() - 4) : found.start()]
    element, content = found[0].lower(), found[1]
    text = without_tags(content).strip()
    linked = "<a" in element or "footnote" in element or "reference" in element
    if not linked and _EXPONENT.fullmatch(text) and _BASE.search(before):
        return f"^{text}"

    note = _NOTE.fullmatch(text)
    is_note = note and (linked or text.isdigit()) and before[-1:] not in ("", ">", " ", "\n")
    return f"[{note[1]}]" if note and is_note else found[0]
