"""Ranges of a page that are compared with other pages: paragraphs, lines and passages of words.

A passage is `min_words` words from a place that their content chooses: of every GAP neighbouring
runs of four words the one with the least hash (winnowing, Schleimer et al. 2003). Two pages that
share `min_words` + GAP words and more share such a passage, wherever it begins in them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import sliding_window_view

from dedup.sentences import END, NEAR_CHARS
from dedup.words import Ragged, content_hashes, mix, ngram_hashes, word_hashes, word_spans

# Keys of paragraphs, of passages and of bands are in one index.
PARAGRAPH_SALT = np.uint64(0x3C6EF372FE94F82B)
PASSAGE_SALT = np.uint64(0xA54FF53A5F1D36F1)

# Neighbouring runs of words of which one begins a passage, and the words of a run. At 8 a page has
# one key for 4.5 words and .86 to .94 of the words in shared passages of 40 are found; at 16 one
# for 8.7 words and .75 to .88 (eight sources of prose, 2026-11-30).
GAP = 8
RUN_WORDS = 4

_BLANK = re.compile(r"\n[ \t\r]*\n")
# Han, Kana and their marks.
_UNSPACED = re.compile(r"[\u2e80-\u9fff]")
_SPACE = re.compile(r"\s*")
_LINE = re.compile(r"\S(?:.*\S)?")


def paragraphs(text: str, min_words: int) -> list[tuple[int, int]]:
    """Ranges that may be cut: blocks between blank lines, and lines of blocks of several.

    Only those of at least `min_words` white-space words, in order; a block comes before its lines.
    """
    found = []
    edges = [0, *(edge for blank in _BLANK.finditer(text) for edge in blank.span()), len(text)]
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        lines = [line.span() for line in _LINE.finditer(text, first, after)]
        if not lines:
            continue
        block = (lines[0][0], lines[-1][1])
        for start, end in [block, *(lines if len(lines) > 1 else [])]:
            # Fewer characters than words are no paragraph: most are told apart by that alone.
            if end - start >= min_words and _num_words(text[start:end]) >= min_words:
                found.append((start, end))

    return found


def paragraph_keys(texts: Sequence[str]) -> np.ndarray:
    """Keys of paragraphs: equal for equal words. Shape (n,) uint64."""
    words = word_hashes(pa.array(texts, pa.large_string()))
    return mix(content_hashes(words)[:, 0] ^ PARAGRAPH_SALT)


def passages(text: str, min_words: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """(keys of passages of `min_words` words, (n,) uint64; the range of each), in order.

    Ranges are of whole words, and reach to the end of a sentence or paragraph if one is near.
    """
    words = word_hashes(pa.array([text], pa.large_string()))
    chosen = chosen_words(words)
    chosen = chosen[chosen + min_words <= words.values.size]
    if not chosen.size:
        return np.zeros(0, np.uint64), []

    keys = mix(ngram_hashes(words, min_words).values[chosen] ^ PASSAGE_SALT)
    starts, ends = word_spans(text)
    return keys, _widened(text, starts[chosen], ends[chosen + min_words - 1])


def chosen_words(words: Ragged) -> np.ndarray:
    """The places of one text's words that begin a passage, ascending. Equal words have equal ones."""
    runs = ngram_hashes(words, RUN_WORDS).values
    if runs.size < GAP or words.values.size < RUN_WORDS:
        return np.zeros(0, np.int64)
    windows = sliding_window_view(runs, GAP)
    return np.unique(windows.argmin(axis=1) + np.arange(windows.shape[0]))


def _widened(text: str, starts: np.ndarray, ends: np.ndarray) -> list[tuple[int, int]]:
    """Ranges from the beginning of their first sentence to the end of their last one, if near."""
    borders = [0, *(end.end() for end in END.finditer(text)), len(text)]
    begins = np.array([_SPACE.match(text, border).end() for border in borders[:-1]])  # type: ignore[union-attr]
    before = begins[np.searchsorted(begins, starts, "right") - 1]
    after = np.array(borders)[np.searchsorted(borders, ends, "left")]
    first = np.where(starts - before <= NEAR_CHARS, before, starts)
    last = np.where(after - ends <= NEAR_CHARS, after, ends)
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _num_words(text: str) -> int:
    """White-space words, or characters of scripts without spaces, whichever is more."""
    num_words = len(text.split())
    return num_words if text.isascii() else max(num_words, len(_UNSPACED.findall(text)))
