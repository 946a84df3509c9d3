"""A reader of zstd files: all frames, in blocks of bounded size, and an error at a cut file.

The reader of the package `zstandard` ends without an error where a file is cut off.
"""

from __future__ import annotations

import io
import re
from typing import Any

import zstandard

FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_MAGIC = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)
_SKIP_BYTES = 1 << 20


class ZstdReader(io.RawIOBase):
    """The content of a stream of zstd frames (RFC 8878), at most 128 KiB unpacked at a time.

    Raises: EOFError for a stream that ends inside a frame; ZstdError for a damaged one, or a frame
    with a larger window than `max_window_bytes`.
    """

    def __init__(self, stream: Any, max_window_bytes: int) -> None:
        self._stream = stream
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=max_window_bytes)
        self._frame: Any = None
        self._has_checksum = False
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of the buffer; 0 at the end."""
        while not self._ready:
            if self._frame is None and not self._begin():
                return 0
            if self._frame is not None:
                self._ready = self._block()

        piece = self._ready[: len(buffer)]
        buffer[: len(piece)] = piece
        self._ready = self._ready[len(piece) :]
        return len(piece)

    def _begin(self) -> bool:
        """Read the header of the next frame, or skip a frame without content; False at the end."""
        magic = self._stream.read(4)
        if not magic:
            return False
        if _SKIPPABLE_MAGIC.fullmatch(magic):
            self._skip(int.from_bytes(self._require(4), "little"))
            return True
        if magic != FRAME_MAGIC:
            # The magic number of a skippable frame may be cut as well.
            begun = magic + b"\x50\x2a\x4d\x18"[len(magic) :]
            if FRAME_MAGIC.startswith(magic) or _SKIPPABLE_MAGIC.fullmatch(begun):
                raise EOFError("the file ends inside a zstd frame")
            raise zstandard.ZstdError(f"expected a zstd frame, found {magic.hex(' ')}")

        descriptor = self._require(1)
        flags = descriptor[0]
        single_segment = flags >> 5 & 1
        rest = (
            (1 - single_segment) + (0, 1, 2, 4)[flags & 3] + (single_segment, 2, 4, 8)[flags >> 6]
        )
        self._frame = self._decompressor.decompressobj()
        self._has_checksum = bool(flags >> 2 & 1)
        self._frame.decompress(magic + descriptor + self._require(rest))
        return True

    def _block(self) -> bytes:
        """The content of the next block."""
        header = self._require(3)
        fields = int.from_bytes(header, "little")
        is_last, kind, size = bool(fields & 1), fields >> 1 & 3, fields >> 3
        # A block of kind 1 repeats one byte.
        content: bytes = self._frame.decompress(header + self._require(1 if kind == 1 else size))
        if is_last:
            if self._has_checksum:
                content += self._frame.decompress(self._require(4))
            self._frame = None
        return content

    def _skip(self, size: int) -> None:
        while size > 0:
            size -= len(self._require(min(size, _SKIP_BYTES)))

    def _require(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        if len(data) < size:
            raise EOFError("the file ends inside a zstd frame")
        return data
