"""Emphasis, code and links within a block, as Markdown.

PageBlocks hold text without its inline tags. These are read again from the source, from the block's
position on. If the words found there are not the block's, its plain text is used.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Final, NamedTuple

from clean.learned import markup
from clean.learned.blocks import PageBlocks
from clean.learned.layout import ELEMENT, POSITION
from clean.learned.markup import TAG

_TOKEN = re.compile(rb"<!--.*?(?:-->|$)|<(/?)([A-Za-z][A-Za-z0-9-]*)([^<>]*)>|([^<]+)|<", re.S)
_TAG = re.compile(rb"<(/?)([A-Za-z][A-Za-z0-9-]*)([^<>]*)>")
_HREF = re.compile(rb"(?:^|\s)href\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.I)
_SPACES = re.compile(r"[ \t\n\r\f\u00a0]+")
_UNSEEN = re.compile("[\u00ad\u200b\ufeff]")
_WORD = re.compile(r"\w+")
_TEX = re.compile(r"(\\\(.*?\\\)|\\\[.*?\\\])", re.S)
# A sign between spaces, or an underscore within a word, is only a sign.
_SPECIAL = re.compile(r"(`|(?<!\s)\*|\*(?!\s)|(?<!\w)_(?!\s)|(?<!\s)_(?!\w))")
_LINE_START = re.compile(r"^(\s*)(#{1,6}(?=\s)|[-+*>](?=\s)|\d{1,9}(?=[.)]\s)|\|)", re.M)
# Inline elements by meaning.
_BOLD: Final = frozenset({b"b", b"strong"})
_ITALIC: Final = frozenset({b"i", b"em", b"dfn", b"cite", b"var"})
_CODE: Final = frozenset({b"code", b"kbd", b"samp", b"tt"})
# Bytes of source before a block, searched for the start of its inline elements.
_BEFORE_BYTES: Final = 3000
# A longer block is written without its emphasis.
_MAX_BYTES: Final = 200_000


class _Style(NamedTuple):
    """The inline elements around a run of text."""

    bold: bool = False
    italic: bool = False
    code: bool = False
    address: str = ""


def inline(page: PageBlocks, block: int, plain: str, *, links: bool) -> str:
    """The text of a block with its inline markup. `plain` is the text without."""
    runs = _runs(page, block, links)
    if _WORD.findall("".join(text for text, _ in runs)) != _WORD.findall(plain):
        return escaped(plain)
    if all(style == _Style() for _, style in runs):
        return escaped(plain)
    return _written(runs)


def escaped(text: str) -> str:
    """`text` with the signs of Markdown escaped. Formulas stay as they are."""
    parts = _TEX.split(text)
    parts[::2] = [_SPECIAL.sub(r"\\\1", part) for part in parts[::2]]
    return _LINE_START.sub(_escaped_start, "".join(parts))


def _escaped_start(found: re.Match[str]) -> str:
    space, sign = found[1], found[2]
    if sign[0].isdigit():
        after = found.string[found.end() : found.end() + 1]
        # The sign behind the number is escaped, which follows unchanged.
        return f"{space}{sign}\\" if after in (".", ")") else found[0]
    return f"{space}\\{sign}"


def _runs(page: PageBlocks, block: int, links: bool) -> list[tuple[str, _Style]]:
    """Pieces of a block's text, each with its style. White space is collapsed."""
    start = int(page.counts[block, POSITION])
    open_tags = _open_before(page, block, start)
    runs: list[tuple[str, _Style]] = []
    skip = b""
    breaks = 0

    for token in _TOKEN.finditer(page.source, start, min(len(page.source), start + _MAX_BYTES)):
        name = (token[2] or b"").lower()
        if skip:
            skip = b"" if token[1] and name == skip else skip
            continue
        if not name:
            if token[0].startswith(b"<!--"):
                continue
            if token[0].strip():
                breaks = 0
            runs.append((token[0].decode("utf-8", "replace"), _style(open_tags, links)))
            continue

        number = TAG.get(name.decode("ascii"), 0)
        flags = int(markup.tables().tag_flags[number])
        if flags & markup.BLOCK:
            break
        if name == b"br":
            breaks += 1
            if breaks > 1:
                break
            runs.append(("\v", _Style()))
        elif flags & (markup.SKIP | markup.RAW):
            skip = b"" if token[1] or token[3].endswith(b"/") else name
        elif not flags & markup.VOID:
            _note(open_tags, bool(token[1]), name, token[3])

    return _collapsed(runs)


def _open_before(page: PageBlocks, block: int, start: int) -> list[tuple[bytes, bytes]]:
    """Inline elements open at the block's first letter."""
    own = int(page.place[block, ELEMENT])
    first = int(page.element_starts[own]) if own >= 0 else 0
    tags: list[tuple[bytes, bytes]] = []
    for found in _TAG.finditer(page.source, max(first, start - _BEFORE_BYTES), start):
        name = found[2].lower()
        number = TAG.get(name.decode("ascii"), 0)
        flags = int(markup.tables().tag_flags[number])
        if flags & markup.BLOCK:
            tags.clear()
        elif not flags & (markup.VOID | markup.SKIP | markup.RAW):
            _note(tags, bool(found[1]), name, found[3])

    return tags


def _note(tags: list[tuple[bytes, bytes]], closing: bool, name: bytes, attributes: bytes) -> None:
    """Open an inline element, or close the last one of its name."""
    if not closing:
        tags.append((name, attributes))
        return

    for index in range(len(tags) - 1, -1, -1):
        if tags[index][0] == name:
            del tags[index]
            return


def _style(tags: list[tuple[bytes, bytes]], links: bool) -> _Style:
    names = {name for name, _ in tags}
    address = ""
    if links and b"a" in names:
        attributes = next(own for name, own in reversed(tags) if name == b"a")
        if found := _HREF.search(attributes):
            address = unescape((found[1] or found[2] or found[3] or b"").decode("utf-8", "replace"))
        address = _SPACES.sub("%20", address.strip())
        if address.startswith(("#", "javascript:")):
            address = ""

    return _Style(
        not names.isdisjoint(_BOLD),
        not names.isdisjoint(_ITALIC),
        b"code" in names or not names.isdisjoint(_CODE),
        address,
    )


def _collapsed(runs: list[tuple[str, _Style]]) -> list[tuple[str, _Style]]:
    """Runs of one style joined, entities read, and white space as a browser shows it."""
    joined: list[tuple[str, _Style]] = []
    for raw, style in runs:
        text = raw if raw == "\v" else _SPACES.sub(" ", _UNSEEN.sub("", unescape(raw)))
        if joined and (joined[-1][1] == style or not text.strip(" ")):
            joined[-1] = joined[-1][0] + text, joined[-1][1]
        elif text:
            joined.append((text, style))

    shown: list[tuple[str, _Style]] = []
    before = " "
    for text, style in joined:
        text = re.sub(" *\v *", "\n", re.sub(" +", " ", text))
        if before[-1:] in " \n":
            text = text.lstrip(" ")
        if text:
            shown.append((text, style))
            before = text

    while shown and not shown[-1][0].strip():
        shown.pop()
    if shown:
        shown[-1] = shown[-1][0].rstrip(), shown[-1][1]

    return shown


def _written(runs: list[tuple[str, _Style]]) -> str:
    pieces: list[str] = []
    for text, style in runs:
        inner = text.strip()
        if not inner:
            pieces.append(text)
            continue
        start = text[: len(text) - len(text.lstrip())]
        end = text[len(text.rstrip()) :]
        pieces.append(f"{start}{_marked(inner, style)}{end}")

    return _LINE_START.sub(_escaped_start, "".join(pieces))


def _marked(text: str, style: _Style) -> str:
    if style.code:
        fence = "``" if "`" in text else "`"
        gap = " " if text[0] == "`" or text[-1] == "`" else ""
        marked = f"{fence}{gap}{text}{gap}{fence}"
    else:
        parts = _TEX.split(text)
        parts[::2] = [_SPECIAL.sub(r"\\\1", part) for part in parts[::2]]
        marked = "".join(parts)
        # Emphasis does not reach over line ends.
        sign = "**" * style.bold + "*" * style.italic
        if sign and any(character.isalnum() for character in text):
            marked = "\n".join(
                f"{sign}{line}{sign}" if line else line for line in marked.split("\n")
            )

    return f"[{marked}]({style.address})" if style.address else marked
