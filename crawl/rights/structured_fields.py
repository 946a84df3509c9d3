"""Dictionaries of structured fields (RFC 9651, sections 3.2 and 4.2.2). Pure.

Parsing fails as a whole, as the RFC demands: a field with one broken member has no members. The
values keep their types, since `train-ai=n` (a token) and `train-ai="n"` (a string) differ.
Parameters are checked and dropped, because no preference uses them.
"""

from __future__ import annotations

import base64
import binascii
import re
from decimal import Decimal

_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*")
_NUMBER = re.compile(r"(-?)(\d+)(?:\.(\d*))?", re.ASCII)
_STRING = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BYTES = re.compile(r":([A-Za-z0-9+/=]*):")
_DISPLAY = re.compile(r'%"((?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*)"')
_PERCENT = re.compile(rb"%([0-9a-f]{2})")
_OWS = " \t"
MAX_INTEGER_DIGITS = 15
MAX_DECIMAL_DIGITS = 12
MAX_FRACTION_DIGITS = 3


class Token(str):
    """A token, as distinct from a string."""

    __slots__ = ()


class DisplayString(str):
    """A Unicode string, percent-encoded in the field."""

    __slots__ = ()


class Date(int):
    """Seconds since 1970."""

    __slots__ = ()


BareItem = Token | DisplayString | Date | str | int | Decimal | bytes | bool
Member = BareItem | tuple[BareItem, ...]


def parse_dictionary(field: str) -> dict[str, Member]:
    """The members of a dictionary; the last of equal keys counts. Raises ValueError."""
    if not field.isascii():
        raise ValueError("a structured field is ASCII")
    reader = _Reader(field)
    reader.skip(" ")
    members = _members(reader)
    reader.skip(" ")
    if not reader.ended:
        raise ValueError(f"unexpected {reader.rest!r}")
    return members


class _Reader:
    """The text of a field and the position in it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at >= len(self._text)

    @property
    def rest(self) -> str:
        return self._text[self._at :]

    @property
    def next(self) -> str:
        return self._text[self._at : self._at + 1]

    def skip(self, characters: str) -> None:
        while not self.ended and self._text[self._at] in characters:
            self._at += 1

    def take(self, character: str) -> bool:
        """Consume `character` if it is next."""
        if self.next != character or not character:
            return False
        self._at += 1
        return True

    def match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Consume a match of `pattern`. Raises ValueError if it does not match."""
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"unexpected {self.rest!r}")
        self._at = found.end()
        return found


def _members(reader: _Reader) -> dict[str, Member]:
    members: dict[str, Member] = {}
    while not reader.ended:
        key = reader.match(_KEY).group()
        if reader.take("="):
            members[key] = _inner_list(reader) if reader.next == "(" else _bare_item(reader)
        else:
            members[key] = True
        _parameters(reader)

        reader.skip(_OWS)
        if reader.ended:
            break
        if not reader.take(","):
            raise ValueError(f"expected ',' before {reader.rest!r}")
        reader.skip(_OWS)
        if reader.ended:
            raise ValueError("ends with ','")

    return members


def _inner_list(reader: _Reader) -> tuple[BareItem, ...]:
    reader.take("(")
    items: list[BareItem] = []
    while True:
        reader.skip(" ")
        if reader.take(")"):
            return tuple(items)
        items.append(_bare_item(reader))
        _parameters(reader)
        if reader.next not in (" ", ")") or reader.ended:
            raise ValueError(f"expected ' ' or ')' before {reader.rest!r}")


def _parameters(reader: _Reader) -> None:
    while reader.take(";"):
        reader.skip(" ")
        reader.match(_KEY)
        if reader.take("="):
            _bare_item(reader)


def _bare_item(reader: _Reader) -> BareItem:
    first = reader.next
    if first == '"':
        return re.sub(r"\\(.)", r"\1", reader.match(_STRING)[1])
    if first == ":":
        return _decode_bytes(reader.match(_BYTES)[1])
    if first == "?":
        return reader.match(re.compile(r"\?([01])"))[1] == "1"
    if first == "@":
        reader.take("@")
        number = _number(reader)
        if isinstance(number, Decimal):
            raise ValueError("a date is an integer")
        return Date(number)
    if first == "%":
        return _decode_display(reader.match(_DISPLAY)[1])
    if first and (first == "-" or first in "0123456789"):
        return _number(reader)
    return Token(reader.match(_TOKEN).group())


def _number(reader: _Reader) -> int | Decimal:
    found = reader.match(_NUMBER)
    sign, whole, fraction = found.groups()
    if fraction is None:
        if len(whole) > MAX_INTEGER_DIGITS:
            raise ValueError("an integer of more than 15 digits")
        return int(sign + whole)
    if len(whole) > MAX_DECIMAL_DIGITS or not 1 <= len(fraction) <= MAX_FRACTION_DIGITS:
        raise ValueError("a decimal has at most 12 digits, and 1 to 3 after the point")
    return Decimal(found.group())


def _decode_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _decode_display(text: str) -> DisplayString:
    raw = _PERCENT.sub(lambda found: bytes([int(found[1], 16)]), text.encode("ascii"))
    return DisplayString(raw.decode("utf-8"))  # UnicodeDecodeError is a ValueError
