"""Pieces of markup calling for a rewriting, found in one compiled pass.

Most pages need no rewriting. A hundred searches for a string would take longer than cutting the page
into blocks, so one pass looks for all of them at once: a hash of the last four bytes tells if a
piece may end here (Wu and Manber, 1994). Unlike an automaton's states, these hashes do not wait for
each other: their search takes .18 ms for a page of 145 kB, where an automaton took longer
(2026-11). Scripts, styles and comments are passed over, since they may quote any markup.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from clean.learned.compiled import compiled_without_arrays, inner

# In lower case. `with_...` functions name those they need.
SHOWN: Final = (
    *("<xmp", "<listing", "<plaintext", "<noframes", "</noframes", "shadowroot", "<textarea"),
    "data-cfemail",
)
DOLLARS: Final = ('alt="$', "alt='$")
DRAWN: Final = ("mathjax", "mjx-", "math/tex")
MATH_ELEMENTS: Final = ("<math", ":math")
MATH_CONTAINERS: Final = ("mjx-", "mwe-math")
SERVICES: Final = (
    *("latex.codecogs", "latex.php", "/equation?tex=", "chl=", "mimetex", "mathtex"),
    "upmath",
)
# Ends of a class of pictures. `"tex` would be on nine of ten pages, as `type="text/css"`.
MATH_IMAGES: Final = (
    *(name + end for name in ("tex", "math", "formula") for end in ('"', "'", " ", ">", "-", "\n")),
    *("ee_img", "mwe-math"),
)
MATH_DATA: Final = ("data-math", "data-tex", "data-latex", "data-formula", "data-expr")
FORMULAS: Final = (
    *("katex", *DOLLARS, *DRAWN, *MATH_ELEMENTS, *MATH_CONTAINERS, *SERVICES, *MATH_IMAGES),
    *MATH_DATA,
)
GUTTERS: Final = (
    *("gutter", "lineno", "linenum", "line-num", "linediv", "blob-num", "ln-num", "linenr"),
    *("crayon-num", '"ln"', "'ln'", "=ln>", "=ln ", '"lnt', "'lnt", "=lnt", "pre-numbering"),
)
CODE_CONTAINERS: Final = (
    *("blob-wrapper", "js-file-line", "syntaxhighlighter", "crayon-main", "crayon-table"),
    *("hljs-ln", "rouge-table", "codetable", "view-lines", "codemirror-code", "react-code-lines"),
    *("ace_text-layer", "ace_content", "cm-content", "dp-highlighter", "diff-table", "lntable"),
    *("highlighttable", "codehilitetable"),
)
FONTS: Final = ("monospace", "courier", "consolas", "menlo", "monaco")
CODE: Final = ("<pre", "<code", "<samp", "<tt", "white-space")
QUOTES: Final = ("<q>", "<q ")
PICTURES: Final = ("emoji", "smiley")
HIDDEN_KEYS: Final = (
    *("display:none", "display: none", "visibility:hidden", "visibility: hidden"),
    *(" hidden>", " hidden ", " hidden="),
)
ANCHORS: Final = (
    *(">#<", "\u00b6<", "\u00a7<", "\U0001f517<", "&para;<", "&sect;<", "&#182;<", "&#167;<"),
    ">permalink<",
)
INLINE: Final = ("<sup", "mw-editsection", *QUOTES, *PICTURES, *HIDDEN_KEYS, *ANCHORS)
TABLES: Final = ('role="row', "role='row", "role=row")
NEEDLES: Final = tuple(
    dict.fromkeys((*SHOWN, *FORMULAS, *GUTTERS, *CODE_CONTAINERS, *FONTS, *CODE, *INLINE, *TABLES))
)
# A control between two words, such as `Press <button>`.
CONTROL: Final = "control"
# A `pre` made of another element.
MADE_PRE: Final = "made <pre"
_ALL: Final = (*NEEDLES, CONTROL)
_BUTTON: Final = np.frombuffer(b"button", np.uint8)
_SELECT: Final = np.frombuffer(b"select", np.uint8)
_INPUT: Final = np.frombuffer(b"input", np.uint8)
_SCRIPT: Final = np.frombuffer(b"script", np.uint8)
_STYLE: Final = np.frombuffer(b"style", np.uint8)
_TEX: Final = np.frombuffer(b"math/tex", np.uint8)
# Hashed bytes of a needle. Shorter needles begin or end with `<`.
_WINDOW: Final = 4
# The hash table fits into the first cache of a core.
_HASH_BITS: Final = 14
_HASH_SHIFT: Final = 32 - _HASH_BITS
_HASH_MASK: Final = (1 << _HASH_BITS) - 1
# A prime below 2^31: its product with four bytes fits into 63 bits.
_MULTIPLIER: Final = 1_640_531_527
# Scripts, styles and comments of most pages.
_USUAL_PARTS: Final = 256


class Signs(NamedTuple):
    """Pieces of markup found on a page, and the parts that were passed over."""

    found: frozenset[str]
    data: bytes
    aside: np.ndarray  # (parts, 2) int64, first byte and end of scripts, styles and comments


class _Needles(NamedTuple):
    """The needles by the hash of their last four bytes, and those that are shorter."""

    first: np.ndarray  # (hashes,) uint8: 1 + the first needle of a hash, or 0
    following: np.ndarray  # (needles,) uint8: 1 + the next needle of the same hash, or 0
    letters: np.ndarray  # (needles, longest) uint8
    sizes: np.ndarray  # (needles,) int64
    short: np.ndarray  # (shorter needles,) int64
    beside: np.ndarray  # (256,) bool: bytes of shorter needles beside their `<`


def signs(html: str) -> Signs:
    """Those of `NEEDLES` found in the markup of `html`, and `CONTROL`."""
    data = html.encode("utf-8", "replace")
    array = np.frombuffer(data, np.uint8)
    found = np.zeros(len(_ALL), np.bool_)
    names = (_SCRIPT, _STYLE, _TEX, _BUTTON, _SELECT, _INPUT)
    aside = np.empty((_USUAL_PARTS, 2), np.int64)

    count = _search(array, _needles(), names, found, aside)
    if count > len(aside):
        aside = np.empty((count, 2), np.int64)
        _search(array, _needles(), names, found, aside)
    return Signs(frozenset(_ALL[number] for number in np.flatnonzero(found)), data, aside[:count])


@cache
def _needles() -> _Needles:
    needles = [needle.encode() for needle in NEEDLES]
    first = np.zeros(1 << _HASH_BITS, np.uint8)
    following = np.zeros(len(needles), np.uint8)
    letters = np.zeros((len(needles), max(map(len, needles))), np.uint8)
    beside = np.zeros(256, np.bool_)
    short: list[int] = []

    for number, needle in enumerate(needles):
        letters[number, : len(needle)] = list(needle)
        if len(needle) < _WINDOW:
            short.append(number)
            byte = needle[1] if needle.startswith(b"<") else needle[-2]
            beside[[byte, ord(chr(byte).upper()) if byte < 128 else byte]] = True
            continue
        window = 0
        for byte in needle[-_WINDOW:]:
            window = window << 8 | byte | 32
        key = window * _MULTIPLIER >> _HASH_SHIFT & _HASH_MASK
        following[number] = first[key]
        first[key] = number + 1

    sizes = np.array([len(needle) for needle in needles], np.int64)
    return _Needles(first, following, letters, sizes, np.array(short, np.int64), beside)


@inner
def _is_at(data: Any, position: Any, name: Any) -> Any:
    """True if the bytes from `position` on are `name`, in any case."""
    if position + name.size > data.size:
        return False
    index = 0
    while index < name.size and data[position + index] | 32 == name[index]:
        index += 1
    return index == name.size


@inner
def _is_needle(data: Any, start: Any, letters: Any, size: Any) -> Any:
    """True if the bytes from `start` on are a needle, its letters in any case."""
    index = size - 1
    while index >= 0:
        byte = data[start + index]
        if 65 <= byte <= 90:
            byte |= 32
        if byte != letters[index]:
            return False
        index -= 1
    return True


@inner
def _end_of_hidden(data: Any, position: Any, script: Any, style: Any, tex: Any) -> Any:
    """The end of the script, style or comment beginning at `position`, or `position`."""
    size = data.size
    if position + 3 < size and data[position + 1] == 33:
        if data[position + 2] != 45 or data[position + 3] != 45:
            return position
        end = position + 4
        while end < size and not (data[end] == 62 and data[end - 1] == 45 and data[end - 2] == 45):
            end += 1
        return min(end + 1, size)

    is_script = _is_at(data, position + 1, script)
    if not is_script and not _is_at(data, position + 1, style):
        return position
    name = script if is_script else style
    end = position + 1 + name.size
    if end >= size or not (data[end] <= 32 or data[end] == 47 or data[end] == 62):
        return position

    while end < size and data[end] != 62:
        if is_script and data[end] == 109 and _is_at(data, end, tex):
            return position
        end += 1
    while end < size:
        is_end_tag = data[end] == 60 and end + 1 < size and data[end + 1] == 47
        if is_end_tag and _is_at(data, end + 2, name):
            while end < size and data[end] != 62:
                end += 1
            return min(end + 1, size)
        end += 1
    return size


@inner
def _is_control(data: Any, position: Any, button: Any, select: Any, control: Any) -> Any:
    """True if a control begins at `position`, behind a word and one space."""
    if position < 2 or data[position - 1] != 32 or data[position - 2] <= 32:
        return False
    return (
        _is_at(data, position + 1, button)
        or _is_at(data, position + 1, select)
        or _is_at(data, position + 1, control)
    )


@inner
def _note_short(data: Any, position: Any, begin: Any, needles: Any, found: Any) -> None:
    """Notes the shorter needles that begin or end at the `<` at `position`."""
    for number in needles.short:
        size = needles.sizes[number]
        start = position if needles.letters[number, 0] == 60 else position + 1 - size
        if start >= begin and start + size <= data.size and not found[number]:
            found[number] = _is_needle(data, start, needles.letters[number], size)


@compiled_without_arrays
def _search(data: Any, needles: Any, names: Any, found: Any, aside: Any) -> Any:
    """Notes the needles and the parts passed over. Returns the number of those."""
    script, style, tex, button, select, control = names
    last = found.size - 1
    size = data.size
    count = 0
    begin = 0
    window = 0
    position = 0

    while position < size:
        byte = data[position]
        if byte == 60:
            end = _end_of_hidden(data, position, script, style, tex)
            if end > position:
                if count < aside.shape[0]:
                    aside[count, 0] = position
                    aside[count, 1] = end
                count += 1
                position = begin = end
                window = 0
                continue
            if not found[last] and _is_control(data, position, button, select, control):
                found[last] = True
            after = data[position + 1] if position + 1 < size else 0
            before = data[position - 1] if position > 0 else 0
            if needles.beside[after] or needles.beside[before]:
                _note_short(data, position, begin, needles, found)

        window = (window << 8 | byte | 32) & 0xFFFFFFFF
        candidate = needles.first[window * _MULTIPLIER >> _HASH_SHIFT & _HASH_MASK]
        while candidate:
            number = candidate - 1
            start = position + 1 - needles.sizes[number]
            if not found[number] and start >= begin:
                found[number] = _is_needle(
                    data, start, needles.letters[number], needles.sizes[number]
                )
            candidate = needles.following[number]
        position += 1

    return count
