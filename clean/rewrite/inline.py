"""Sentences with elements of other kinds: controls, quotations, raised numbers, pictures of
characters, hidden keys.
"""

from __future__ import annotations

import re
from typing import Final

from clean.rewrite.elements import attribute, replace_elements, without_tags
from clean.rewrite.signs import ANCHORS, CONTROL, HIDDEN_KEYS, PICTURES, QUOTES

_BUTTON = re.compile(
    r"<button(?=[\s>])[^<>]*>((?:(?!</?button[\s>]).){1,300}?)</button>", re.I | re.S
)
_SELECT = re.compile(
    r"<select(?=[\s>])[^<>]*>\s*(<option(?:(?!</select).){0,2000})</select>", re.I | re.S
)
_OPTION = re.compile(r"<option([^<>]*)>([^<>]{1,40})", re.I)
_SELECTED = re.compile(r"\sselected(?=[\s=]|$)", re.I)
_INPUT = re.compile(r"<input\s(?>[^<>]*?type\s*=\s*[\"']?(?:button|submit|reset))[^<>]*+>", re.I)
# Longer labels are not part of a sentence.
MAX_LABEL_CHARS: Final = 40
_BEFORE = re.compile(r"[\w,;:(\"'] $")
_AFTER = re.compile(r"[ ,.;:)](?!\s*<)")
_QUOTE_TAG = re.compile(r"<(/?)q(?=[\s>])[^<>]*>", re.I)
_QUOTE_MARKS: Final = (("\u201c", "\u201d"), ("\u2018", "\u2019"))
_SUP = re.compile(r"<sup(?=[\s>])[^<>]*>((?:(?!</?sup[\s>]).){1,600}?)</sup>", re.I | re.S)
_EXPONENT = re.compile(r"(?:[-+\u2212\u2013]?\d{1,4}|[a-zA-Z]|[a-z][+-]\d)")
_BASE = re.compile(r"(?:\d|\)|(?:^|[^A-Za-z])[A-Za-z\u0370-\u03ff]{1,3})$")
# French 19<sup>e</sup>, Spanish 1<sup>a</sup>.
_ORDINAL = re.compile(r"[eao]")
_NOTE = re.compile(r"\[?\s*(\d{1,3}(?:\s*[,\u2013-]\s*\d{1,3})*|[a-z*\u2020\u2021])\s*\]?")
_PICTURE = re.compile(
    r"<img\s(?=[^<>]{0,1000}?(?:class\s*=\s*[\"']?[^\"'<>]*(?:emoji|smiley)|/emoji/))[^<>]*>", re.I
)
MAX_PICTURE_CHARS: Final = 16
# Keys by which scripts sort a table, and the other label of a switch.
_HIDDEN_KEY = re.compile(
    r"<(span|small|b|i|em|strong|sup|sub|data)\s(?>(?:[^<>]*?\s)?"
    r"(?:style\s*=\s*[\"']?[^\"'<>]{0,200}(?:display\s*:\s*none|visibility\s*:\s*hidden)"
    r"|hidden(?=[\s=>])))[^<>]*+>[^<>]{0,60}</\1>",
    re.I,
)
_EDIT_LINKS = re.compile(
    r"<(span)\s(?>[^<>]*?class\s*=\s*[\"']?mw-editsection(?![\w-]))[^<>]*+>", re.I
)
_ANCHOR = re.compile(
    r"<a\s(?=[^<>]*?(?:href\s*=\s*[\"']?[^\"'<> #]{0,2000}#|class\s*=\s*[\"']?[^\"'<>]{0,500}?anchor))"
    r"[^<>]*+>\s*"
    r"(?:<(?:span|i|b|small)(?=[\s>])[^<>]*>\s*)?"
    r"(?:#|\u00b6|\u00a7|\U0001f517|&para;|&sect;|&#182;|&#167;|permalink|permanent link)\s*"
    r"(?:</(?:span|i|b|small)>\s*)?</a>",
    re.I,
)
_CONTROLS: Final = (" <button", " <select", " <input")
# Longest start tag searched for its beginning.
_TAG_CHARS: Final = 1000


def with_whole_sentences(html: str, signs: frozenset[str]) -> str:
    """`html` with controls in a sentence as words, quotation marks, exponents and note marks."""
    if CONTROL in signs:
        html = _with_controls(html)
    if not signs.isdisjoint(QUOTES):
        html = _with_quotation_marks(html)
    if "<sup" in signs:
        html = _SUP.sub(_raised, html)
    if not signs.isdisjoint(PICTURES):
        html = _PICTURE.sub(_picture, html)
    if not signs.isdisjoint(HIDDEN_KEYS):
        html = _without_hidden_keys(html, signs)
    if "mw-editsection" in signs:
        html = replace_elements(html, _EDIT_LINKS, lambda tag, content: "")
    if not signs.isdisjoint(ANCHORS):
        html = _ANCHOR.sub("", html)
    return html


def _with_controls(html: str) -> str:
    """`html` with the labels of controls between words."""
    for start, pattern, label in zip(
        _CONTROLS, (_BUTTON, _SELECT, _INPUT), (_button, _choice, _input), strict=True
    ):
        pieces: list[str] = []
        done = position = 0
        while (position := html.find(start, position)) >= 0:
            position += 1
            if found := pattern.match(html, position):
                pieces += html[done:position], label(found)
                done = position = found.end()
        html = "".join((*pieces, html[done:])) if pieces else html
    return html


def _without_hidden_keys(html: str, signs: frozenset[str]) -> str:
    """`html` without the short elements within a line that a style or attribute hides."""
    places = set()
    for needle in signs.intersection(HIDDEN_KEYS):
        position = 0
        while (position := html.find(needle, position)) >= 0:
            places.add(html.rfind("<", max(0, position - _TAG_CHARS), position))
            position += len(needle)

    pieces: list[str] = []
    done = 0
    for place in sorted(places):
        found = _HIDDEN_KEY.match(html, place) if place >= done else None
        if found:
            pieces.append(html[done:place])
            done = found.end()
    return "".join((*pieces, html[done:])) if pieces else html


def _in_sentence(found: re.Match[str], label: str) -> str:
    """The label of a control between words, and any other control as it was."""
    html, start, end = found.string, found.start(), found.end()
    fits = 0 < len(label) <= MAX_LABEL_CHARS and _BEFORE.search(html[max(0, start - 2) : start])
    return label if fits and _AFTER.match(html, end) else found[0]


def _button(found: re.Match[str]) -> str:
    return _in_sentence(found, without_tags(found[1]).strip())


def _choice(found: re.Match[str]) -> str:
    """The option shown by a browser: the selected one, else the first."""
    options = _OPTION.findall(found[1])
    shown = next((label for own, label in options if _SELECTED.search(own)), None)
    return _in_sentence(found, (shown or (options[0][1] if options else "")).strip())


def _input(found: re.Match[str]) -> str:
    return _in_sentence(found, attribute(found[0], "value") or "")


def _with_quotation_marks(html: str) -> str:
    """`html` with the marks put around a `q` by a browser, inner ones single."""
    tags = _QUOTE_TAG.findall(html)
    if 2 * tags.count("/") != len(tags):
        return html

    depth = 0

    def mark(tag: re.Match[str]) -> str:
        nonlocal depth
        depth += -1 if tag[1] else 1
        level = depth if tag[1] else depth - 1
        return _QUOTE_MARKS[level % 2][bool(tag[1])]

    return _QUOTE_TAG.sub(mark, html)


def _raised(found: re.Match[str]) -> str:
    """A power as `^2`, the mark of a note in brackets, and anything else as it was."""
    before = found.string[max(0, found.start() - 4) : found.start()]
    element, content = found[0].lower(), found[1]
    text = without_tags(content).strip()
    linked = "<a" in element or "footnote" in element or "reference" in element
    is_ordinal = before[-1:].isdigit() and _ORDINAL.fullmatch(text)
    if not linked and not is_ordinal and _EXPONENT.fullmatch(text) and _BASE.search(before):
        return f"^{text}"

    note = _NOTE.fullmatch(text)
    is_note = note and (linked or text.isdigit()) and before[-1:] not in ("", ">", " ", "\n")
    return f"[{note[1]}]" if note and is_note else found[0]


def _picture(found: re.Match[str]) -> str:
    """The character shown by a picture."""
    label = attribute(found[0], "alt") or ""
    return label if 0 < len(label) <= MAX_PICTURE_CHARS else found[0]
