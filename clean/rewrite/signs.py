"""Pieces of markup that call for a rewriting, found in one compiled pass.

Most pages need no rewriting. Forty searches for a string would take longer than cutting the page
into blocks, so one automaton (Aho and Corasick, 1975) looks for all of them at once. Scripts,
styles and comments are passed over, since they may quote any markup.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from clean.learned.compiled import compiled, inner

# In lower case. `with_...` functions name those that they need.
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
MATH_IMAGES: Final = (
    *('"latex', "'latex", "=latex", ' latex"', '"tex', "'tex", "=tex ", "=tex>", ' tex"'),
    *('"math', "'math", "=math", '"formula', "'formula", "=formula", "ee_img", "mwe-math"),
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
_ALL: Final = (*NEEDLES, CONTROL)
_BUTTON: Final = np.frombuffer(b"button", np.uint8)
_SELECT: Final = np.frombuffer(b"select", np.uint8)
_INPUT: Final = np.frombuffer(b"input", np.uint8)
_SCRIPT: Final = np.frombuffer(b"script", np.uint8)
_STYLE: Final = np.frombuffer(b"style", np.uint8)
_TEX: Final = np.frombuffer(b"math/tex", np.uint8)


class _Automaton(NamedTuple):
    """Transitions of the search: bytes have symbols, 0 for those of no needle."""

    symbol: np.ndarray  # (256,) uint8
    after: np.ndarray  # (states, symbols) int16
    ends: np.ndarray  # (states,) bool: True if a needle ends here
    found: np.ndarray  # (states, needles) uint8: needles that end here


def signs(html: str) -> frozenset[str]:
    """Those of `NEEDLES` that are in the markup of `html`, and `CONTROL`."""
    data = np.frombuffer(html.encode("utf-8", "replace"), np.uint8)
    found = np.zeros(len(_ALL), np.uint8)
    symbol, after, ends, needles = _automaton()
    _search(
        data, symbol, after, ends, needles, _SCRIPT, _STYLE, _TEX, _BUTTON, _SELECT, _INPUT, found
    )
    return frozenset(_ALL[number] for number in np.flatnonzero(found))


@cache
def _automaton() -> _Automaton:
    needles = [needle.encode() for needle in NEEDLES]
    alphabet = sorted(set(b"".join(needles)))
    symbol = np.zeros(256, np.uint8)
    for number, byte in enumerate(alphabet, 1):
        symbol[byte] = number
        if 97 <= byte <= 122:
            symbol[byte - 32] = number

    children: list[dict[int, int]] = [{}]
    ends: list[set[int]] = [set()]
    for number, needle in enumerate(needles):
        state = 0
        for byte in needle:
            key = int(symbol[byte])
            if key not in children[state]:
                children[state][key] = len(children)
                children.append({})
                ends.append(set())
            state = children[state][key]
        ends[state].add(number)

    after = np.zeros((len(children), len(alphabet) + 1), np.int16)
    fallback = [0] * len(children)
    queue = deque([0])
    while queue:
        state = queue.popleft()
        if state:
            after[state] = after[fallback[state]]
            ends[state] |= ends[fallback[state]]
        for key, child in children[state].items():
            fallback[child] = int(after[fallback[state], key]) if state else 0
            after[state, key] = child
            queue.append(child)

    found = np.zeros((len(children), len(_ALL)), np.uint8)
    for state, numbers in enumerate(ends):
        found[state, list(numbers)] = 1
    return _Automaton(symbol, after, np.asarray(found.any(axis=1)), found)


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
def _end_of_hidden(data: Any, position: Any, script: Any, style: Any, tex: Any) -> Any:
    """The end of the script, style or comment that begins at `position`, or `position`."""
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


@compiled
def _search(
    data: Any,
    symbol: Any,
    after: Any,
    ends: Any,
    needles: Any,
    script: Any,
    style: Any,
    tex: Any,
    button: Any,
    select: Any,
    control: Any,
    found: Any,
) -> None:
    state = 0
    position = 0
    last = found.size - 1

    while position < data.size:
        byte = data[position]
        if byte == 60:
            end = _end_of_hidden(data, position, script, style, tex)
            if end > position:
                position = end
                state = 0
                continue
            if not found[last] and _is_control(data, position, button, select, control):
                found[last] = 1

        state = after[state, symbol[byte]]
        if ends[state]:
            for number in range(last):
                found[number] |= needles[state, number]
        position += 1
