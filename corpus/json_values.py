"""JSON of other people: every fault in it is a ValueError, and lines have a limit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any

from corpus.errors import SchemaError

# A line with one document. The longest of public sets have some 10 MB.
MAX_LINE_BYTES = 128 << 20


def json_value(data: str | bytes) -> Any:
    """The value of a JSON text.

    Raises: ValueError if it is not JSON or nests too deeply, for which Python has another error that
    readers forget.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def document_lines(stream: BufferedIOBase, place: str) -> Iterator[bytes]:
    """The lines of a file with one document each. Raises: SchemaError for one beyond the limit."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise SchemaError(
                f"{place}: a line of more than {MAX_LINE_BYTES:,} bytes; "
                "expected one document a line"
            )
        yield line
