"""Text that browsers do not show, because of a style, an attribute, or the classes of elements.

The pass over the page notes styles and attributes. Classes are known by two means: the usual names
of frameworks for text meant for screen readers alone, and the rules of the page's own style sheets.
Of those, only a rule for one class or identifier counts, and only if no other rule shows the
element again, be it on a wider screen or in another state.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np

from clean.learned.blocks import PageBlocks
from clean.learned.layout import ELEMENT, HIDDEN, HIDDEN_BY_STYLE, OFF_SCREEN, WORDS
from clean.learned.markup import HINTS

# Least share of shown words among the kept: with fewer, a script shows the text later.
LEAST_SHOWN_FRAC: Final = 0.3
# Shorter text for screen readers names what others see by its place, such as "You said:".
LABEL_WORDS: Final = 8
# Most rules read of a page's style sheets.
MAX_RULES: Final = 300
# Bytes before a value to search for the name of its property.
_NAME_BYTES: Final = 16
MAX_SELECTOR_BYTES: Final = 2000
_CANDIDATES: Final = (HINTS.index("hidden"), HINTS.index("sr"))
_NAMES: Final = frozenset(
    {b"sr-only", b"visually-hidden", b"visuallyhidden", b"u-visually-hidden", b"hidden-visually"}
    | {b"is-visually-hidden", b"a11y-hidden"}
)
_ATTRIBUTE = re.compile(rb"\s(class|id)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.I)
# Names of elements opened and closed by a reader.
_OPENS = re.compile(
    rb"\s(?:class|id)\s*=\s*(?:\"[^\"]*?|'[^']*?|[^\s\"'>]*?)(?:accord|collaps|faq|disclos|expand|read-?more|tab-?pan|tabs?-?content|toggle)"
    rb"|role\s*=\s*[\"']?(?:region|tabpanel)",
    re.I,
)
# Elements around a block searched for such a name.
_LEVELS: Final = 5
_SHOWN: Final = rb"display\s*:\s*(?!none)\w|visibility\s*:\s*(?:visible|inherit|unset)"
_SHOWS = re.compile(_SHOWN, re.I)
_SIDES: Final = (b"left", b"right", b"top", b"bottom")
_FAR: Final = {side: re.compile(rb"(?:^|[^-\w])" + side + rb"\s*:\s*$", re.I) for side in _SIDES}
# An element far to the left stays there with `top:0`.
_SHOWS_FAR: Final = {
    side: re.compile(
        _SHOWN + rb"|position\s*:\s*(?:static|relative)"
        rb"|[^-\w](?:inset|" + side + rb")\s*:\s*(?:auto|0|[1-9])",
        re.I,
    )
    for side in _SIDES
}
# Values that hide, the end of the declaration before each, and what shows the element again.
# Opacity is left out: most elements without any are faded in.
_HIDING: Final = (
    (b"none", re.compile(rb"display\s*:\s*$"), _SHOWS),
    (b"hidden", re.compile(rb"(?:^|[^-\w])visibility\s*:\s*$"), _SHOWS),
    *((far, _FAR[side], _SHOWS_FAR[side]) for far in (b"-9999", b"-10000") for side in _SIDES),
    (
        b"transparent",
        re.compile(rb"(?:^|[^-\w])color\s*:\s*$"),
        re.compile(_SHOWN + rb"|[^-\w]color\s*:\s*(?!transparent)[\w#]", re.I),
    ),
)
_HIDING_WORDS: Final = frozenset(word for word, *_ in _HIDING)
_SELECTOR = re.compile(rb"\s*([.#])([A-Za-z][\w-]{2,60})\s*")


def without_hidden(page: PageBlocks, keep: np.ndarray) -> np.ndarray:
    """`keep` without blocks hidden by a browser, unless most of the text is hidden.

    Text that a reader can open, such as the answers of a list of questions, is not hidden.
    """
    state = page.place[:, HIDDEN]
    hidden = keep & ((state == HIDDEN_BY_STYLE) | (state == OFF_SCREEN) | _by_class(page, keep))
    if not hidden.any():
        return keep
    hidden &= ~_can_be_opened(page, hidden)

    words = page.counts[:, WORDS]
    shown = keep & ~hidden
    return shown if words[shown].sum() >= LEAST_SHOWN_FRAC * words[keep].sum() else keep


def _by_class(page: PageBlocks, keep: np.ndarray) -> np.ndarray:
    """True for kept blocks within an element hidden by its class or identifier, (b,) bool."""
    own = _sheet_names(page.source)
    candidates = keep & (page.counts[:, WORDS] >= LABEL_WORDS)
    if not own:
        candidates &= (page.channels[:, _CANDIDATES] > 0).any(axis=1)
    hidden = np.zeros(keep.size, bool)
    known: dict[int, bool] = {-1: False}

    for block in np.flatnonzero(candidates).tolist():
        path = []
        element = int(page.place[block, ELEMENT])
        while element not in known:
            path.append(element)
            element = int(page.parents[element])
        state = known[element]
        for element in reversed(path):
            state = state or _is_named(page, element, own)
            known[element] = state
        hidden[block] = state

    return hidden


def _can_be_opened(page: PageBlocks, blocks: np.ndarray) -> np.ndarray:
    """True for those of some blocks within an accordion or tabs, (b,) bool."""
    found = np.zeros(blocks.size, bool)
    known: dict[int, bool] = {}
    for block in np.flatnonzero(blocks).tolist():
        element = int(page.place[block, ELEMENT])
        for _ in range(_LEVELS):
            if element < 0:
                break  # a block outside all elements, or the root was passed
            if element not in known:
                start = int(page.element_starts[element])
                end = page.source.find(b">", start, start + 2000)
                known[element] = bool(_OPENS.search(page.source, start, max(start, end)))
            if known[element]:
                found[block] = True
                break
            element = int(page.parents[element])

    return found


def _is_named(page: PageBlocks, element: int, own: frozenset[bytes]) -> bool:
    """True if a class or the identifier of an element hides it."""
    start = int(page.element_starts[element])
    end = page.source.find(b">", start, start + 2000)
    for name, *values in _ATTRIBUTE.findall(page.source, start, end):
        value = b"".join(values)
        sign = b"." if name.lower() == b"class" else b"#"
        classes = value.split()
        if any(sign + each in own for each in classes):
            return True
        if sign == b"." and not _NAMES.isdisjoint(classes):
            return True

    return False


def _sheet_names(source: bytes) -> frozenset[bytes]:
    """Selectors of a class or identifier hidden and never shown by the page's own style sheets."""
    sheets = [source[start:end] for start, end in _style_sheets(source)]
    hidden = {found for sheet in sheets for found in _hidden_selectors(sheet)}
    return frozenset(
        name for name, shows in hidden if not any(_is_shown(name, shows, sheet) for sheet in sheets)
    )


def _style_sheets(source: bytes) -> Iterator[tuple[int, int]]:
    """The first byte and the end of each style sheet of a page."""
    position = 0
    while (position := source.find(b"<style", position)) >= 0:
        end = source.find(b"</style", position)
        end = len(source) if end < 0 else end
        yield source.find(b">", position, end) + 1, end
        position = end


def _hidden_selectors(sheet: bytes) -> Iterator[tuple[bytes, re.Pattern[bytes]]]:
    """Single selectors of hiding rules outside of media queries, and what shows them again."""
    present = {word for word in _HIDING_WORDS if word in sheet}
    for word, declaration, shows in _HIDING:
        if word not in present:
            continue
        depth = done = position = 0
        for _ in range(MAX_RULES):
            position = sheet.find(word, position + 1)
            if position < 0:
                break
            if not declaration.search(sheet, max(0, position - _NAME_BYTES), position):
                continue

            depth += sheet.count(b"{", done, position) - sheet.count(b"}", done, position)
            done = position
            opening = sheet.rfind(b"{", 0, position)
            # A picture behind the text may show through it.
            if depth == 1 and sheet.find(b"-clip", opening, sheet.find(b"}", position)) < 0:
                for name in _single_selectors(sheet, opening):
                    yield name, shows


def _single_selectors(sheet: bytes, opening: int) -> Iterator[bytes]:
    """The selectors of one class or identifier among those of the rule opened at `opening`."""
    start = max(0, opening - MAX_SELECTOR_BYTES)
    last = max(sheet.rfind(sign, start, opening) for sign in (b"}", b"/", b";", b">"))
    if last < start and start:
        return
    for selector in sheet[last + 1 : opening].split(b","):
        if single := _SELECTOR.fullmatch(selector):
            yield single[1] + single[2]


def _is_shown(name: bytes, shows: re.Pattern[bytes], sheet: bytes) -> bool:
    """True if a rule naming the selector, alone or with others, shows its elements."""
    position = 0
    while (position := sheet.find(name, position)) >= 0:
        position += len(name)
        opening = sheet.find(b"{", position)
        closing = sheet.find(b"}", opening)
        if shows.search(sheet, opening, closing if closing > 0 else len(sheet)):
            return True
    return False
