"""Rows of a dump, split on bytes: a character on the border of two chunks costs nothing.

A truncated or damaged file gives every whole row before the break; then TruncatedDump names its
byte and row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from corpus.errors import PartitionError, RetryableError
from crawl.links.containers import READ_BYTES, BrokenStreamError, Content, UnreadableError

# Rows are cut here: the longest submissions known have some hundred KB. No chunk of a container
# is as long.
MAX_ROW_BYTES = 1 << 24


class TruncatedDump(PartitionError):  # noqa: N818 - the name says what the file is
    """The dump is truncated; all rows before the break were given.

    `byte_offset` counts bytes of the file (compressed, if it is), `row_number` the rows read
    before.
    """

    def __init__(self, byte_offset: int, row_number: int, cause: str) -> None:
        super().__init__(
            f"the dump breaks at byte {byte_offset}, after {row_number} rows: {cause}; download the file again and "
            "compare its checksum, or keep these rows with --allow-truncated"
        )
        self.byte_offset = byte_offset
        self.row_number = row_number
        self.cause = cause


class UnreadableDump(RetryableError):  # noqa: N818 - as above
    """Reading the dump failed, but not because of its content: it is tried again."""


OPEN, CLOSE = b"{}"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class RowBlock:
    """Whole rows: `data` without the newline behind the last."""

    __slots__ = ("_ends", "data", "num_rows")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._ends = list(_newlines(data))
        self.num_rows = len(self._ends) + 1

    def rows(self) -> list[bytes]:
        """The rows, without newlines."""
        return self.data.split(b"\n")

    def row(self, index: int) -> bytes:
        """Row `index`, 0..num_rows-1."""
        start = self._ends[index - 1] + 1 if index else 0
        return self.data[start : self._ends[index] if index < self.num_rows - 1 else None]

    @property
    def one_object_each(self) -> bool:
        """True if as many JSON values as rows mean one object per row.

        This holds if every row begins with `{` and ends with `}`. No JSON value continues over `}`,
        newline, `{` (a comma would come between, and no string contains a newline), so every
        newline is between two values.
        """
        data = self.data
        if not (data.startswith(b"{") and data.endswith(b"}")):
            return False

        return all(data[end - 1] == CLOSE and data[end + 1] == OPEN for end in self._ends)


def _newlines(data: bytes) -> Iterator[int]:
    """The positions of newlines, searched one by one: rows are long."""
    at = data.find(b"\n")
    while at >= 0:
        yield at
        at = data.find(b"\n", at + 1)


class RowReader:
    """The rows of one dump, without their newlines.

    A last row without a newline is a row, unless a break cut it off. Rows beyond MAX_ROW_BYTES are
    cut to exactly that length. `num_rows` counts the rows given.
    """

    def __init__(self, raw: BinaryIO, *, read_bytes: int = READ_BYTES) -> None:
        self._content = Content(raw, read_bytes)
        self.num_rows = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks():
            yield from block.rows()

    def blocks(self) -> Iterator[RowBlock]:
        """Yield the rows in blocks of some hundred KB.

        Raises: TruncatedDump behind the last whole row; UnreadableDump if a connection or a disk
        fails; InputError if the file is not a dump.
        """
        tail = b""
        cut = False  # the row in `tail` has reached the limit: skip to its end
        try:
            for chunk in self._content:
                last = chunk.rfind(b"\n")
                if last < 0:
                    if not cut:
                        tail += chunk
                    if len(tail) > MAX_ROW_BYTES:
                        tail, cut = tail[:MAX_ROW_BYTES], True
                    continue
                first = chunk.find(b"\n")
                row = tail if cut else (tail + chunk[:first])[:MAX_ROW_BYTES]
                block = RowBlock(self._unmarked(row) + chunk[first:last])
                tail, cut = chunk[last + 1 :], False
                self.num_rows += block.num_rows
                yield block
        except UnreadableError as error:
            raise UnreadableDump(
                f"reading failed at byte {error.byte_offset}, after {self.num_rows} rows: {error.cause}; "
                "the run tries again, and so does the same command"
            ) from error
        except BrokenStreamError as error:
            raise TruncatedDump(error.byte_offset, self.num_rows, error.cause) from error

        if tail := self._unmarked(tail):
            self.num_rows += 1
            yield RowBlock(tail)

    def _unmarked(self, row: bytes) -> bytes:
        """A row without a byte order mark, which may begin the first one."""
        return row.removeprefix(BYTE_ORDER_MARK) if self.num_rows == 0 else row


def open_rows(raw: BinaryIO, *, read_bytes: int = READ_BYTES) -> RowReader:
    """The rows of a dump in any of its containers, as an iterable of bytes."""
    return RowReader(raw, read_bytes=read_bytes)
