"""The charset declared in a page's own first bytes: the prescan of the HTML standard.

Comments, other tags and processing instructions are skipped: a `charset=` in a script, a comment or
a description is not a declaration. Source: WHATWG HTML, section 13.2.3.2, "prescan a byte stream to
determine its encoding", "get an attribute" and "get an XML encoding".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_MENTION = re.compile(rb"charset|<\?xml", re.I)
_SPACE = b"\t\n\f\r "
_META = re.compile(rb"<meta[\t\n\f\r /]", re.I)
_TAG = re.compile(rb"</?[A-Za-z][^\t\n\f\r >]*")
_OTHER_MARKUP = re.compile(rb"<[!/?]")
_XML = re.compile(
    rb"\s{0,64}<\?xml[\t\n\f\r ][^>]*?\bencoding[\x00-\x20]*=[\x00-\x20]*(?:\"([^\">]*)\"|'([^'>]*)')"
)
_RAW_TEXT = re.compile(
    rb"<(script|style|title|textarea|noscript|xmp|iframe)(?=[\t\n\f\r />])", re.I
)
_CHARSET = re.compile(
    rb"charset[\t\n\f\r ]*=[\t\n\f\r ]*(?:\"([^\"]*)\"|'([^']*)'|([^\t\n\f\r ;\"'][^\t\n\f\r ;]*))",
    re.I,
)


def declared_labels(start: bytes) -> Iterator[str]:
    """Charset labels of `<meta>` elements, then that of an XML declaration.

    A caller takes the first label it knows, as the standard skips unknown ones. The prescan
    reads `<meta>` within scripts, styles and titles like any other, and a browser's parser then
    corrects it. There is no such parser here, so these labels come last.
    """
    if not _MENTION.search(start):
        return

    last: list[str] = []
    raw_text_end = position = 0
    while (position := start.find(b"<", position)) >= 0:
        if start.startswith(b"<!--", position):
            # The two hyphens that begin a comment may be those that end it.
            end = start.find(b"-->", position + 2)
            position = len(start) if end < 0 else end + 3
        elif _META.match(start, position):
            within_raw_text = position < raw_text_end
            attributes, position = _attributes(start, position + len(b"<meta"))
            label = _meta_label(attributes)
            if label is not None and within_raw_text:
                last.append(label)
            elif label is not None:
                yield label
        elif tag := _TAG.match(start, position):
            _, position = _attributes(start, tag.end())
            if raw := _RAW_TEXT.match(start, tag.start()):
                raw_text_end = max(raw_text_end, start.find(b"</" + raw[1], position))
        elif _OTHER_MARKUP.match(start, position):
            end = start.find(b">", position)
            position = len(start) if end < 0 else end + 1
        else:
            position += 1

    if xml := _XML.match(start):
        yield _label(xml[1] or xml[2] or b"")
    yield from last


def _meta_label(attributes: dict[bytes, bytes]) -> str | None:
    """The label declared by one `<meta>`, or None."""
    if b"charset" in attributes:
        return _label(attributes[b"charset"])
    if attributes.get(b"http-equiv", b"").lower() != b"content-type":
        return None

    found = _CHARSET.search(attributes.get(b"content", b""))
    return _label(found[1] or found[2] or found[3] or b"") if found else None


def _label(value: bytes) -> str:
    return value.decode("latin-1").strip().lower()


def _attributes(start: bytes, position: int) -> tuple[dict[bytes, bytes], int]:
    """(attributes of the tag from `position` on, position behind the tag).

    The first of a name counts. A tag cut off by the end of the bytes has none.
    """
    found: dict[bytes, bytes] = {}
    while True:
        while position < len(start) and start[position] in _SPACE + b"/":
            position += 1
        if position >= len(start):
            return {}, position
        if start[position] == ord(">"):
            return found, position + 1

        name_start = position
        while position < len(start) and start[position] not in _SPACE + b"/>":
            if start[position] == ord("=") and position > name_start:
                break
            position += 1

        name = start[name_start:position].lower()
        position = _skip_space(start, position)
        value = b""
        if start[position : position + 1] == b"=":
            value, position = _value(start, _skip_space(start, position + 1))
        found.setdefault(name, value)


def _value(start: bytes, position: int) -> tuple[bytes, int]:
    """(attribute value at `position`, position behind it)."""
    quote = start[position : position + 1]
    if quote in (b'"', b"'"):
        end = start.find(quote, position + 1)
        return (b"", len(start)) if end < 0 else (start[position + 1 : end], end + 1)

    end = position
    while end < len(start) and start[end] not in _SPACE + b">":
        end += 1
    return start[position:end], end


def _skip_space(start: bytes, position: int) -> int:
    while position < len(start) and start[position] in _SPACE:
        position += 1
    return position
