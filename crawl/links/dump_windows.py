"""Estimates the memory needed to decompress a dump from its header (zstd window, xz dictionary)."""

from __future__ import annotations

import contextlib
import io
from typing import BinaryIO

from crawl.links.containers import (
    HEAD_BYTES,
    SKIPPABLE_MAGIC,
    XZ_MAGIC,
    ZSTD_MAGIC,
    read_exactly,
    zstd_window,
)
from crawl.links.dump_memory import FIXED_BYTES
from crawl.links.xz_blocks import STREAM_HEADER_BYTES, XZ_MEMORY_BYTES, xz_dictionary_bytes


def memory_bytes(raw: BinaryIO) -> int:
    """The bytes needed to read `raw` (seekable, at its beginning).

    The window or dictionary of its first frame and `dump_memory.FIXED_BYTES`. Frames without
    content (pzstd begins with one) are skipped; a later frame or block that needs more reserves it
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
            window = min(xz_dictionary_bytes(head[STREAM_HEADER_BYTES:]), XZ_MEMORY_BYTES)

    return window + FIXED_BYTES
