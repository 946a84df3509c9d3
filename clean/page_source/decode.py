"""Decodes the bytes of a page to text, as browsers do as far as labels can be trusted.

The order is that of WHATWG's encoding sniffing: byte order mark, HTTP header, `<meta>`, then a
detector. Labels are often wrong (a server's default header over a page with its own), so two rules
of evidence apply:

- Valid UTF-8 with more than plain ASCII is UTF-8, under any label. Text in another charset passes
  by accident only if it is a few bytes long.
- A label is ignored if the bytes contradict it. UTF-8 is contradicted by more broken bytes than
  sound multi-byte characters. A page with few broken bytes keeps its label, and each of them
  becomes U+FFFD.

Labels have the meaning of the WHATWG Encoding Standard: `iso-8859-1` is windows-1252, `gb2312` is
GB 18030, and so on.
"""

from __future__ import annotations

import codecs
import re
from enum import StrEnum
from typing import NamedTuple

import charset_normalizer

from clean.page_source.guess import guess
from clean.page_source.prescan import declared_labels

# Bytes to search for a declaration. The standard says 1,024, but real pages put it later.
META_BYTES = 16_384
# Bytes of an unlabelled page given to the detector.
DETECT_BYTES = 32768
# Bytes searched for them: scripts and styles at the head of a page may be long.
SEARCHED_BYTES = 1 << 20
# With a greater share of undecodable characters, a label other than UTF-8 counts as wrong.
MAX_BAD_FRAC = 0.005
# Sound multi-byte characters for each broken one to take an unlabelled page as UTF-8.
MIN_SOUND_PER_BAD = 2
FEW_FOREIGN = 4
# Number and share of bytes beyond ASCII that a detector needs. With fewer it is English with
# typographic quotes.
FEW_FOREIGN_FRAC = 0.03


class CharsetSource(StrEnum):
    """The origin of the charset."""

    BOM = "bom"
    HEADER = "header"
    META = "meta"
    DETECTOR = "detector"


class Decoded(NamedTuple):
    """Text, the Python codec of it, and the origin of the choice."""

    text: str
    charset: str
    source: CharsetSource


_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ALIASES = {
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "shift-jis": "cp932",
    "x-gbk": "gb18030",
    "x-euc-jp": "euc-jp",
    "x-mac-roman": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
    "windows-949": "cp949",
    "unicode-1-1-utf-8": "utf-8",
    "unicode": "utf-8",
    "iso-8859-8-i": "cp1255",
    "x-user-defined": "cp1252",
}
_CODECS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "shift_jis_2004": "cp932",
    "shift_jisx0213": "cp932",
    "euc_jis_2004": "euc_jp",
    "euc_jisx0213": "euc_jp",
    # Found in a <meta> read as ASCII, so the page cannot be UTF-16.
    "utf-16": "utf-8",
    "utf-16-le": "utf-8",
    "utf-16-be": "utf-8",
}
_NAMES = (
    "utf-8 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 cp866 cp874 cp932 cp949 koi8-r koi8-u "
    "iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 iso8859-10 iso8859-13 iso8859-14 "
    "iso8859-15 iso8859-16 mac-roman mac-cyrillic gb18030 big5hkscs euc_jp iso2022_jp"
)
_KNOWN = frozenset(_NAMES.split())
# Charsets with bytes like plain ASCII.
_STATEFUL = frozenset({"iso2022_jp"})
_LABEL = re.compile(r"[\w:.+-]{1,40}", re.A)
# A parameter of a media type. A value in quotation marks may quote another parameter.
_PARAMETER = re.compile(
    r"[;,\s]\s*([\w.-]+)\s*=\s*(?:\"([^\"]*)\"?|'([^']*)'?|([^\s;,\"']*))", re.I
)
_FOREIGN = bytes(range(0x80, 0x100))
# One that nothing ends is all of the rest, as in a browser: else each would be searched to the end.
_SCRIPTS = re.compile(rb"<(script|style)\b.*?(?:</\1|\Z)", re.I | re.S)
_TAGS = re.compile(rb"<[^<>]{0,4096}>")


def codec(label: str) -> str | None:
    """The Python codec of a charset label of the web, or None for an unknown label."""
    label = label.strip().lower()
    if not _LABEL.fullmatch(label):  # Python's own lookup ignores punctuation
        return None

    try:
        name = codecs.lookup(_ALIASES.get(label, label)).name
    except (LookupError, ValueError):
        return None

    name = _CODECS.get(name, name)
    return name if name in _KNOWN else None


def decode(body: bytes, content_type: str | None = None) -> Decoded:
    """Text of a page. Never fails: undecodable bytes become U+FFFD."""
    for mark, name in _BOMS:
        if body.startswith(mark):
            return Decoded(body[len(mark) :].decode(name, "replace"), name, CharsetSource.BOM)

    if wide := _utf16_without_mark(body[:DETECT_BYTES]):
        return Decoded(body.decode(wide, "replace"), wide, CharsetSource.DETECTOR)

    labels = _labels(body, content_type)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return _decode_other(body, labels)

    for name, source in labels:
        if name in _STATEFUL and b"\x1b" in body:
            return Decoded(body.decode(name, "replace"), name, source)
        if name == "utf-8":
            return Decoded(text, name, source)

    return Decoded(text, "utf-8", CharsetSource.DETECTOR)


def _decode_other(body: bytes, labels: list[tuple[str, CharsetSource]]) -> Decoded:
    """Text of bytes that are not strictly UTF-8."""
    for name, source in labels:
        text = body.decode(name, "replace")
        if _is_plausible(text, name):
            return Decoded(text, name, source)

    text = body.decode("utf-8", "replace")
    if _is_plausible(text, "utf-8", MIN_SOUND_PER_BAD):
        return Decoded(text, "utf-8", CharsetSource.DETECTOR)

    name = detect(body)
    return Decoded(body.decode(name, "replace"), name, CharsetSource.DETECTOR)


def _is_plausible(text: str, name: str, min_sound_per_bad: int = 1) -> bool:
    """True if few enough characters were undecodable to believe the label.

    UTF-8 is judged by its multi-byte characters. Each sound one is evidence: bytes of another
    charset form one by accident only now and then, and windows-1252 among ASCII never does. One bad
    character at the very end means a truncated page.
    """
    bad = text.count("\ufffd")
    if name == "utf-8":
        sound = _num_foreign(text) - bad
        return bad * min_sound_per_bad <= sound or (bad == 1 and text.endswith("\ufffd"))

    return bad <= 1 + MAX_BAD_FRAC * len(text)


def _utf16_without_mark(sample: bytes) -> str | None:
    """The UTF-16 codec of a sample without a byte order mark, or None.

    In European text every second byte is zero, and always the same second one.
    """
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    least = len(sample) // 6
    if max(even, odd) <= max(least, 3) or min(even, odd) > max(even, odd) // 20:
        return None

    return "utf-16-le" if odd > even else "utf-16-be"


def _num_foreign(text: str) -> int:
    """Number of characters beyond ASCII."""
    return len(text) - len(text.encode("ascii", "ignore"))


def detect(body: bytes) -> str:
    """The codec suggested by the bytes themselves, else windows-1252."""
    shown = _SCRIPTS.sub(b" ", body[:SEARCHED_BYTES])
    sample = _TAGS.sub(b" ", shown)[:DETECT_BYTES] or body[:DETECT_BYTES]
    num_foreign = len(sample) - len(sample.translate(None, _FOREIGN))
    if num_foreign < FEW_FOREIGN:
        return "cp1252"
    if known := guess(sample):
        return known
    if num_foreign < FEW_FOREIGN_FRAC * len(sample):
        return "cp1252"
    best = charset_normalizer.from_bytes(sample).best()
    return (codec(best.encoding) if best is not None else None) or "cp1252"


def _header_label(content_type: str) -> str:
    """The first `charset` of a Content-Type header, or empty."""
    for name, *values in _PARAMETER.findall(content_type):
        if name.lower() == "charset":
            return "".join(values).strip()
    return ""


def _labels(body: bytes, content_type: str | None) -> list[tuple[str, CharsetSource]]:
    """Charsets declared by header and page, most trusted first."""
    found: list[tuple[str, CharsetSource]] = []
    if content_type and (name := codec(_header_label(content_type))):
        found.append((name, CharsetSource.HEADER))

    for label in declared_labels(body[:META_BYTES]):
        if name := codec(label):
            found.append((name, CharsetSource.META))
            break

    return found
