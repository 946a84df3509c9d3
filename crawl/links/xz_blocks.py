"""The xz decoder of dumps: asks for memory before a block with a larger dictionary is decoded.

Every block of an xz stream has a dictionary of its own size, and files may be joined from several
streams. lzma has one limit for all of them and does not say what a block takes. So the structure
of the stream is followed beside the decoder: block headers and the headers of LZMA2 chunks give
all positions, and no content is decoded for it (xz file format 1.1.0, sections 2 and 3).
"""

from __future__ import annotations

import contextlib
import lzma
from collections import deque
from collections.abc import Generator

from crawl.links import dump_memory

# What an xz stream may ask for; `xz -9` asks for 65 MiB.
XZ_MEMORY_BYTES = 1 << 30

# The filter of xz with a dictionary.
LZMA2 = 0x21

STREAM_HEADER_BYTES = 12
# Bytes of the check behind a block, by the type in the stream's header (section 2.1.1.2).
CHECK_BYTES = (0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64)


class XzDecoder:
    """lzma's decompressor with the memory of each block reserved before its header is fed."""

    def __init__(self) -> None:
        self._inner = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
        self._blocks = _Blocks()
        # Input that was not fed yet, each with the dictionary of the block that it begins, or 0.
        self._pieces: deque[tuple[bytes, int]] = deque()

    @property
    def eof(self) -> bool:
        """The stream is complete."""
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        """All input so far is unpacked, apart from a header of which the end is missing."""
        return self._inner.needs_input and not self._pieces

    @property
    def unused_data(self) -> bytes:
        """Bytes behind the stream."""
        return self._inner.unused_data + b"".join(data for data, _ in self._pieces)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most `max_length` bytes of content. Raises: lzma.LZMAError, MemoryLimitError."""
        self._pieces.extend(self._blocks.split(data))
        if not (self._inner.needs_input and self._pieces):
            return self._inner.decompress(b"", max_length)

        # What the block before holds is freed by lzma with the next header, so it is held while
        # this waits: at most the smaller dictionary.
        piece, dictionary = self._pieces.popleft()
        if dictionary:
            dump_memory.enlarge(min(dictionary, XZ_MEMORY_BYTES) + dump_memory.FIXED_BYTES)
        return self._inner.decompress(piece, max_length)


# Asks for a number of bytes to read or to skip, or gives the dictionary of the block that was read.
Step = tuple[str, int]


class _Blocks:
    """Follows the structure of one stream through pieces of any size."""

    def __init__(self) -> None:
        self._walk = _walk()
        self._step: Step | None = next(self._walk)
        # Bytes of a read that is not complete.
        self._held = bytearray()

    def split(self, data: bytes) -> list[tuple[bytes, int]]:
        """Cut the input before the headers of blocks, each with its dictionary.

        Bytes of an incomplete header are held back until the rest arrives.
        """
        pieces: list[tuple[bytes, int]] = []
        passed, dictionary = bytearray(), 0
        place = 0
        while self._step is not None and place < len(data):
            kind, size = self._step
            taken = data[place : place + size - len(self._held)]
            place += len(taken)

            if kind == "skip":
                passed += taken
                self._advance(None, size - len(taken))
                continue

            self._held += taken
            if len(self._held) < size:
                break
            read = bytes(self._held)
            self._held.clear()
            self._advance(read, 0)
            if self._step is not None and self._step[0] == "block":
                if passed:
                    pieces.append((bytes(passed), dictionary))
                passed, dictionary = bytearray(), self._step[1]
                self._advance(None, 0)
            passed += read

        # Behind the last block, or behind damage, lzma alone judges.
        if self._step is None:
            passed += data[place:]
        if passed:
            pieces.append((bytes(passed), dictionary))
        return pieces

    def _advance(self, read: bytes | None, left: int) -> None:
        """Go to the next step, or stay with what is left to skip."""
        if left:
            self._step = ("skip", left)
            return

        self._step = None
        with contextlib.suppress(StopIteration):
            self._step = self._walk.send(read)


def _walk() -> Generator[Step, bytes | None, None]:
    """Yield the steps through a stream up to its index, and end early at damage."""
    head = yield from _read(STREAM_HEADER_BYTES)
    check_bytes = CHECK_BYTES[head[7] & 0x0F]

    while (size := (yield from _peek_size())) is not None:
        header = size + (yield from _read((size[0] + 1) * 4 - 1))
        try:
            dictionary = xz_dictionary_bytes(header)
        except IndexError:
            return
        yield ("block", dictionary)

        length = yield from _walk_chunks()
        if length is None:
            return
        yield from _skip(-length % 4 + check_bytes)


def _peek_size() -> Generator[Step, bytes | None, bytes | None]:
    """Read the first byte of a header; None for the index, which begins with a zero."""
    size = yield from _read(1)
    return size if size[0] else None


def _walk_chunks() -> Generator[Step, bytes | None, int | None]:
    """Walk through the LZMA2 chunks of a block. Returns their bytes, None after damage.

    Layout: liblzma's lzma2_decoder.c; sizes are big-endian and one less than what they stand for.
    """
    length = 0
    while True:
        control = (yield from _read(1))[0]
        length += 1
        if control == 0:
            return length

        if control >= 0x80:
            # Size unpacked, size packed, and a byte of properties where they change.
            fields = yield from _read(5 if control >= 0xC0 else 4)
            size = int.from_bytes(fields[2:4], "big") + 1
        elif control <= 2:
            fields = yield from _read(2)
            size = int.from_bytes(fields, "big") + 1
        else:
            return None
        yield from _skip(size)
        length += len(fields) + size


def _read(size: int) -> Generator[Step, bytes | None, bytes]:
    read = yield ("read", size)
    assert read is not None
    return read


def _skip(size: int) -> Generator[Step, bytes | None, None]:
    if size:
        yield ("skip", size)


def xz_dictionary_bytes(header: bytes) -> int:
    """The dictionary of a block by its header (sections 3.1 and 5.3.1); 0 for the index.

    Raises: IndexError if the header is cut off.
    """
    if header[0] == 0:  # no block: the index follows
        return 0

    flags, place = header[1], 2
    for present in (0x40, 0x80):  # compressed and uncompressed size, which several threads write
        if flags & present:
            _, place = _variable_length(header, place)

    for _ in range((flags & 3) + 1):
        filter_id, place = _variable_length(header, place)
        size, place = _variable_length(header, place)
        if filter_id == LZMA2:
            bits = header[place] & 0x3F
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
