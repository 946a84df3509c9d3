"""Characters treated differently by libraries, since each has the Unicode tables of its release.

`gigatoken` 0.10 is at Unicode 17, `tokenizers` 0.23 at 16, its normaliser at 9. A letter in one
table, if unassigned in another, is split from its neighbours in one library only.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pyarrow as pa

# Lead byte of U+0340: no character below U+0378 is unsettled, so most text of Latin script has no
# candidate.
FIRST_LEAD = 0xCD


def unsettled_rows(texts: Any) -> np.ndarray:
    """Indices of the texts of an Arrow string array with an unsettled character.

    Shape (k,) int64, ascending.
    """
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    kind = np.int64 if pa.types.is_large_string(array.type) else np.int32
    _, offsets, data = array.buffers()
    if len(array) == 0 or offsets is None or data is None:
        return np.zeros(0, np.int64)

    ends = np.frombuffer(offsets, kind, len(array) + 1, array.offset * np.dtype(kind).itemsize)
    text = np.frombuffer(data, np.uint8)[: ends[-1]]

    leads = np.flatnonzero(text[ends[0] :] >= FIRST_LEAD) + int(ends[0])
    if not leads.size:
        return np.zeros(0, np.int64)

    found = leads[_table()[_code_points(text, leads)]]
    return np.unique(np.searchsorted(ends, found, "right") - 1)


def _code_points(text: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """Code points of the characters beginning at `leads`. Shapes (n,), (k,) to (k,)."""
    lead = text[leads].astype(np.int32)
    # A character at the end of the text has fewer than three bytes after it; those are not used then.
    second, third, fourth = (
        (text.take(leads + offset, mode="clip") & 0x3F).astype(np.int32) for offset in (1, 2, 3)
    )
    two = (lead & 0x1F) << 6 | second
    three = (lead & 0x0F) << 12 | second << 6 | third
    four = (lead & 0x07) << 18 | second << 12 | third << 6 | fourth
    return np.where(lead < 0xE0, two, np.where(lead < 0xF0, three, four))


@cache
def _table() -> np.ndarray:
    """True for every unsettled code point. Shape (0x200000,): as many as four bytes can spell."""
    text = resources.files("shards.tokenizer").joinpath("unsettled_characters.txt").read_text()
    table = np.zeros(0x200000, bool)
    for line in text.splitlines():
        if not line.startswith("#"):
            first, last = line.split()
            table[int(first, 16) : int(last, 16) + 1] = True

    return table
