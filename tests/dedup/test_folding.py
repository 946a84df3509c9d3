"""The table of characters is what it says it is, and small enough to hold in memory."""

from __future__ import annotations

import unicodedata
import zlib
from importlib import resources

import numpy as np
import pytest

from dedup import folding, words


@pytest.mark.skipif(
    unicodedata.unidata_version != folding.UNICODE_VERSION, reason="this Python has another Unicode"
)
def test_file_is_what_build_makes() -> None:
    built, loaded = folding.build(), folding.load()
    assert np.array_equal(built.codes, loaded.codes)
    assert np.array_equal(built.expansions, loaded.expansions)
    stored = resources.files("dedup").joinpath(folding.FILE).read_bytes()
    assert zlib.decompress(folding.dump(built)) == zlib.decompress(stored)


def test_no_character_gives_more_words_than_there_is_room_for() -> None:
    table = folding.load()
    for point in np.flatnonzero(table.codes >= folding.EXPANSION).tolist():
        most = len(words.split_words(chr(point)))
        assert most <= words.MOST_WORDS_PER_BYTE * len(chr(point).encode())


def test_expansions_do_not_expand_again() -> None:
    table = folding.load()
    assert not (table.expansions >= folding.EXPANSION).any()
    assert not (table.expansions == folding.NOTHING).any()
