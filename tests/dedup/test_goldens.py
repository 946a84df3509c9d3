"""Hashes as earlier versions stored them: an index of other hashes finds no duplicate of an old page."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dedup import passage_spans, words
from dedup.contamination import near_match
from dedup.near_duplicates import lsh, minhash
from dedup.near_duplicates.lsh import LshConfig

TEXT = "The quick brown fox jumps over the lazy dog, and then over it again, and so on for a while."
TEXTS = pa.array([TEXT], pa.large_string())


def test_hashes_of_words_and_grams() -> None:
    hashes = words.word_hashes(TEXTS)
    assert hashes.values[:3].tolist() == [0xF7B59AFE4EAEBCAC, 0x6F759F2A53380741, 0x68A03FFC31E675E5]  # fmt: skip
    assert words.ngram_hashes(hashes, 5).values[:2].tolist() == [0xAF5034A28454F69B, 0xC7903614E492832]  # fmt: skip
    assert words.content_hashes(hashes).tolist() == [[0x50E2F073F172834E, 0x2D559363A5E1B796]]


def test_signatures_and_keys() -> None:
    signed = minhash.sign(TEXTS, 5, minhash.permutations(4, 1))
    assert signed.values.tolist() == [[451546319, 54187734, 66636781, 99140400]]
    keys = lsh.band_keys(signed.values, LshConfig(num_bands=2, rows_per_band=2))
    assert keys.ravel().tolist() == [0xAD4916735A16F9A, 0x550B4B197C32C124]
    assert lsh.content_keys(signed.content).tolist() == [0xE7373675769565E9]


def test_keys_of_passages() -> None:
    assert passage_spans.paragraph_keys([TEXT]).tolist() == [0xFF69A6A2DA17F7D2]
    keys, ranges = passage_spans.passages(TEXT, 8)
    assert keys.tolist() == [0x1F66253C58E2BAF6, 0xD100D062B3A2DDC0]
    assert ranges == [(0, 91), (0, 91)]
    hashes = words.word_hashes(TEXTS).values
    found = near_match._keys(hashes, np.array([0]), np.array([5]))
    assert found.tolist() == [0xD43634B3CC3796B5]
