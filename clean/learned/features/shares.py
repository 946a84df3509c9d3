"""Arithmetic of features: shares, and words outside links."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned.compiled import inner
from clean.learned.layout import CHARS, LINK_CHARS, WORDS

# A block with that many words outside links counts as a paragraph.
PARAGRAPH_WORDS: Final = 15
# Parts of a word in `free_words`.
UNIT: Final = 1024


@inner
def share(part: Any, whole: Any) -> Any:
    """part / whole, or 0 if the whole is 0."""
    return np.float32(np.float64(part) / np.float64(whole)) if whole > 0 else np.float32(0)


@inner
def free_words(counts: Any, block: Any) -> Any:
    """Words outside links, in 1/UNIT: integers, so sums need no rounding."""
    chars = np.int64(counts[block, CHARS])
    outside = chars - np.int64(counts[block, LINK_CHARS])
    return np.int64(counts[block, WORDS]) * UNIT * outside // chars
