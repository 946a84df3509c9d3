"""Bytes as printable characters, as byte-level vocabulary files spell them (GPT-2's `bytes_to_unicode`)."""

from __future__ import annotations


def _byte_order() -> list[int]:
    """The bytes in the order of GPT-2's first 256 ids: printable ones, then the others."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return plain + [byte for byte in range(256) if byte not in set(plain)]


BYTE_ORDER = _byte_order()
CHAR_OF_BYTE = {
    byte: chr(byte) if index < 188 else chr(256 + index - 188)
    for index, byte in enumerate(BYTE_ORDER)
}
_SPELLED = str.maketrans({chr(byte): char for byte, char in CHAR_OF_BYTE.items()})
_UNSPELLED = str.maketrans(
    {chr(point): "\uffff" for point in range(256)}
    | {char: chr(byte) for byte, char in CHAR_OF_BYTE.items()}
)


def spell(token: bytes) -> str:
    """A token as byte-level files write it."""
    return token.decode("latin-1").translate(_SPELLED)


def unspell(text: str) -> bytes:
    """The token with this spelling in byte-level files.

    Raises ValueError for a character without a byte.
    """
    return text.translate(_UNSPELLED).encode("latin-1")
