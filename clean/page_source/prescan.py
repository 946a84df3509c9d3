"""The charset declared in a page's own first bytes: the prescan of the HTML standard.

Comments, other tags and processing instructions are skipped: a `charset=` in a script, a comment or
a description is not a declaration. Source: WHATWG HTML, section 13.2.3.2, "prescan a byte stream to
determine its encoding", "get an attribute" and "get an XML encoding".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_MENTION = re.compile(rb"charset|<\?xml", re.I)
_META = re.compile(rb"<meta[\t\n\f\r /]", re.I)
_TAG = re.compile(rb"</?[A-Za-z][^\t\n\f\r >]*")
_OTHER_MARKUP = re.compile(rb"<[!/?]")
_XML = re.compile(
    rb"\s{0,64}<\?xml[\t\n\f\r ][^>]*?\bencoding[\x00-\x20]*=[\x00-\x20]*(?:\"([^\">]*)\"|'([^'>]*)')"
)
# "Get an attribute" of the standard. A quotation mark that nothing closes, or a tag without an end,
# is no match: it goes on to the end of the bytes.
_VALUE = rb"\"[^\"]*+\"|'[^']*+'|(?![\"'])[^\t\n\f\r >]*+"
_ONE = rb"[\t\n\f\r /]*+%s[\t\n\f\r ]*+(?:=[\t\n\f\r ]*+(?:%s)|(?!=))"
_NAME = rb"[^\t\n\f\r />][^\t\n\f\r />=]*+"
_REST_OF_TAG = re.compile(rb"(?:" + _ONE % (_NAME, _VALUE) + rb")*+[\t\n\f\r /]*+>")
_ATTRIBUTE = re.compile(
    _ONE
    % (
        rb"(" + _NAME + rb")",
        rb"\"([^\"]*+)\"|'([^']*+)'|(?![\"'])([^\t\n\f\r >]*+)",
    )
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
            place = position + len(b"<meta")
            rest = _REST_OF_TAG.match(start, place)
            position = rest.end() if rest else len(start)
            label = _meta_label(_attributes(start[place : position - 1])) if rest else None
            if label is not None and within_raw_text:
                last.append(label)
            elif label is not None:
                yield label
        elif tag := _TAG.match(start, position):
            rest = _REST_OF_TAG.match(start, tag.end())
            position = rest.end() if rest else len(start)
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


def _attributes(tag: bytes) -> dict[bytes, bytes]:
    """The attributes in a tag behind its name; the first of a name counts."""
    found: dict[bytes, bytes] = {}
    for name, *values in _ATTRIBUTE.findall(tag):
        found.setdefault(name.lower(), b"".join(values))
    return found
