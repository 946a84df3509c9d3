"""A memory budget shared by all response bodies in flight.

No page waits for memory or is cut for it. When the budget is exhausted, long bodies move to
temporary files, so a server sending a few megabytes and then one byte at a time costs disk space
for as long as a request may take, and nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

# Bytes that the bodies of a worker may hold in memory together, received and decoded.
ALL_BODIES_BYTES = 24 << 20
# Bodies up to here stay in memory: the number of requests in flight bounds their sum.
SMALL_BYTES = 512 << 10


class BodyShare:
    """The received bytes of one body, in memory or in a temporary file."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        # Bytes in memory.
        self.num_bytes = 0

    @property
    def is_spooled(self) -> bool:
        """True if the body is in a file."""
        return self._file is not None

    def add(self, piece: bytes) -> None:
        """Keep received bytes."""
        if self._file is None:
            self._pieces.append(piece)
        else:
            self._file.write(piece)

    def grow_to(self, num_bytes: int) -> bool:
        """Account for bytes in memory; True if the body has just moved to a file."""
        if self._file is not None:
            return False

        self._budget.num_bytes += num_bytes - self.num_bytes
        self.num_bytes = num_bytes
        if num_bytes <= SMALL_BYTES or self._budget.num_bytes <= self._budget.limit_bytes:
            return False

        self._file = tempfile.TemporaryFile(prefix="webtext-body-")  # noqa: SIM115
        self._file.writelines(self._pieces)
        self._pieces.clear()
        self._budget.num_bytes -= self.num_bytes
        self.num_bytes = 0

        return True

    def received(self) -> bytes:
        """All kept bytes."""
        if self._file is None:
            return b"".join(self._pieces)
        self._file.seek(0)
        return self._file.read()

    def clear(self) -> None:
        """Forget the bytes."""
        self._pieces.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._budget.num_bytes -= self.num_bytes
        self.num_bytes = 0


class BodyBudget:
    """Memory of all bodies together: at most `limit_bytes` apart from small ones."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.num_bytes = 0

    @contextmanager
    def share(self) -> Iterator[BodyShare]:
        """A share, released at the end of the block."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            share.clear()
