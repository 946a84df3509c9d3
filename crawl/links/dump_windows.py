"""Estimates the memory needed to decompress a dump from its header (zstd window, xz dictionary)."""

from __future__ import annotations

import contextlib
import io
from typing import BinaryIO

from crawl.links.containers import (
    HEAD_BYTES,
    SKIPPABLE_MAGIC,
    XZ_MAGIC,
    XZ_MEMORY_BYTES,
    ZSTD_MAGIC,
    read_exactly,
    zstd_window,
)
from crawl.links.dump_memory import FIXED_BYTES

# The filter of xz with a dictionary.
LZMA2 = 0x21


def memory_bytes(raw: BinaryIO) -> int:
    """The bytes needed to read `raw` (seekable, at its beginning).

    The window or dictionary of its first frame and `dump_memory.FIXED_BYTES`. Frames without
    content (pzstd begins with one) are skipped; a later frame with a larger window reserves more
    when it is reached. A truncated or damaged header needs nothing: the reader reports it.
    """
    head = read_exactly(raw, HEAD_BYTES)
    while SKIPPABLE_MAGIC.match(head) and len(head) >= 8:
        raw.seek(int.from_bytes(head[4:8], "little") - len(head) + 8, io.SEEK_CUR)
        head = read_exactly(raw, HEAD_BYTES)

    window = 0
    if head.startswith(ZSTD_MAGIC):
        window = zstd_window(head)
    elif head.startswith(XZ_MAGIC):
        with contextlib.suppress(IndexError):
            window = min(_xz_dictionary_bytes(head), XZ_MEMORY_BYTES)

    return window + FIXED_BYTES


def _xz_dictionary_bytes(head: bytes) -> int:
    """The dictionary of the first block of an xz stream (format 1.1.0, sections 3.1 and 5.3.1).

    Raises: IndexError if the header is cut off.
    """
    if head[12] == 0:  # no block: the index follows
        return 0

    flags, place = head[13], 14
    for present in (0x40, 0x80):  # compressed and uncompressed size, which several threads write
        if flags & present:
            _, place = _variable_length(head, place)

    for _ in range((flags & 3) + 1):
        filter_id, place = _variable_length(head, place)
        size, place = _variable_length(head, place)
        if filter_id == LZMA2:
            bits = head[place] & 0x3F
            return (2 | bits & 1) << (bits // 2 + 11)
        place += size

    return 0


def _variable_length(data: bytes, place: int) -> tuple[int, int]:
    """An integer with seven bits in each byte, lowest first, and the position behind it."""
    value, shift = 0, 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
