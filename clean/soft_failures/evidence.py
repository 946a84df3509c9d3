"""Finds the phrases of soft failures in a page, by the place where they stand.

The page is given as normal text (`words.normal`), one block a line, with the zone of each line.
One compiled pass reads it. Time is linear in the words: the search at a word is bounded by the
longest phrase.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.soft_failures.lexicon import Lexicon
from clean.soft_failures.words import WORD_PRIME, compiled, next_word

# Zones of a page's lines. A line is a link line if most of its words are links.
TITLE, HEADING, OPENING, LINKS, REST = range(5)
NUM_ZONES: Final = 5
MAX_MATCHES: Final = 512
MAX_PHRASE_WORDS: Final = 24
# Words between the thing and the words for its absence, in one line.
NEAR_WORDS: Final = 12
# Columns of a match.
PHRASE, ZONE, LINE = range(3)
# Group numbers read by the pass itself, as in `lexicon.GROUPS`.
SUBJECT, ABSENT = 0, 1


def matches(data: bytes, zones: np.ndarray, lexicon: Lexicon) -> tuple[np.ndarray, np.ndarray]:
    """(matches (m, 3) int32, statistics by zone (NUM_ZONES, 3) int32).

    The statistics are words, words in a phrase, and pairs of a thing and its absence.
    """
    found = np.empty((MAX_MATCHES, 3), np.int32)
    stats = np.zeros((NUM_ZONES, 3), np.int32)
    buffer = np.frombuffer(data + b" ", np.uint8)
    count = search(buffer, zones, lexicon.keys, lexicon.values, lexicon.groups, found, stats)
    return found[:count], stats


@compiled
def search(
    data: Any, zones: Any, keys: Any, values: Any, groups: Any, found: Any, stats: Any
) -> Any:
    """Fills matches and statistics; returns the number of matches."""
    last_slot = np.uint64(keys.size - 1)
    count = 0
    line = 0
    number = 0
    covered_to = 0
    subject_at = -1000
    absent_at = -1000
    position = 0

    while True:
        word, position, breaks = next_word(data, position)
        if word == 0:
            break
        if breaks:
            line += breaks
            subject_at = -1000
            absent_at = -1000
        zone = zones[min(line, zones.size - 1)]
        stats[zone, 0] += 1
        number += 1

        # Continue from this word as long as some phrase does.
        value = np.uint64(0)
        ahead, after, length = word, position, 0
        while length < MAX_PHRASE_WORDS:
            length += 1
            value = (value ^ ahead) * WORD_PRIME
            slot = (value ^ (value >> np.uint64(29))) & last_slot
            while keys[slot] != 0 and keys[slot] != value:
                slot = (slot + np.uint64(1)) & last_slot
            if keys[slot] == 0:
                break

            phrase = values[slot]
            if phrase:
                covered_to = max(covered_to, number + length)
                if groups[phrase, SUBJECT]:
                    subject_at = number
                    if number - absent_at <= NEAR_WORDS:
                        stats[zone, 2] += 1
                if groups[phrase, ABSENT]:
                    absent_at = number
                    if number - subject_at <= NEAR_WORDS:
                        stats[zone, 2] += 1
                if count < found.shape[0]:
                    found[count, PHRASE] = phrase
                    found[count, ZONE] = zone
                    found[count, LINE] = line
                    count += 1

            ahead, after, breaks = next_word(data, after)
            if ahead == 0 or breaks:
                break

        if covered_to > number:
            stats[zone, 1] += 1

    return count
