"""The score of passages in texts: seeds are extended and clusters weighed. Plain loops.

`kernels` compiles it, and tests call it as it is.
"""

from __future__ import annotations

from typing import Any

# Words of a seed. With one word in eight changed, runs of seven words stay.
SEED_WORDS = 5

# Unequal words in a row that end an extension.
MAX_MISSES = 3
# Words that may be left out or added at one place within an extension.
MAX_LEFT_OUT = 2
# Words by which neighbouring seeds of one passage may be shifted against each other.
MAX_SHIFT = 12

# Room that a found passage may take in the page: inserted words are part of it.
MAX_STRETCH = 2


def score_clusters(
    page_words: Any,
    page_bounds: Any,
    seed_text: Any,
    seed_word: Any,
    seed_passage: Any,
    seed_at: Any,
    passage_words: Any,
    passage_bounds: Any,
    weights: Any,
    chunk_bounds: Any,
    chunk_starts: Any,
    chunk_ends: Any,
    chunk_weights: Any,
    threshold: Any,
    matched: Any,
    begin: Any,
    out_text: Any,
    out_chunk: Any,
    out_first: Any,
    out_after: Any,
) -> Any:
    """Score clusters of seeds from `begin` on until the output is full: (rows written, next seed).

    Seeds come ordered by text, passage and diagonal. `matched` has the place in the text of every
    word of the current passage, or -1, and is -1 throughout on return. Plain Python: `kernels`
    compiles it.
    """
    count = 0
    place = begin
    while place < seed_text.size:
        text = seed_text[place]
        passage = seed_passage[place]
        if count + chunk_bounds[passage + 1] - chunk_bounds[passage] > out_text.size:
            break

        after = place + 1
        while (
            after < seed_text.size
            and seed_text[after] == text
            and seed_passage[after] == passage
            and (seed_word[after] - seed_at[after]) - (seed_word[after - 1] - seed_at[after - 1])
            <= MAX_SHIFT
        ):
            after += 1

        page = page_bounds[text]
        num_page_words = page_bounds[text + 1] - page
        base = passage_bounds[passage]
        num_words = passage_bounds[passage + 1] - base
        low = num_words
        high = 0
        for seed in range(place, after):
            if (
                matched[seed_at[seed]] == seed_word[seed]
                and matched[seed_at[seed] + SEED_WORDS - 1] == seed_word[seed] + SEED_WORDS - 1
            ):
                continue
            for direction in (-1, 1):
                misses = 0
                at = seed_at[seed]
                word = seed_word[seed]
                while 0 <= at < num_words and 0 <= word < num_page_words:
                    if passage_words[base + at] == page_words[page + word]:
                        misses = 0
                        if matched[at] < 0:
                            matched[at] = word
                            low = min(low, at)
                            high = max(high, at + 1)
                    else:
                        misses += 1
                        if misses > MAX_MISSES:
                            break
                        # A word that is left out or added moves the rest: two equal words tell.
                        for shift in range(MAX_LEFT_OUT + 1):
                            last_at = at + (shift + 1) * direction
                            last_word = word + direction
                            if (
                                0 <= last_at < num_words
                                and 0 <= last_word < num_page_words
                                and passage_words[base + last_at] == page_words[page + last_word]
                                and (
                                    shift == 0
                                    or passage_words[base + last_at - direction]
                                    == page_words[page + word]
                                )
                            ):
                                at += shift * direction
                                break
                            last_at = at + direction
                            last_word = word + (shift + 1) * direction
                            if (
                                0 <= last_at < num_words
                                and 0 <= last_word < num_page_words
                                and passage_words[base + last_at] == page_words[page + last_word]
                                and passage_words[base + at]
                                == page_words[page + last_word - direction]
                            ):
                                word += shift * direction
                                break
                        if passage_words[base + at] == page_words[page + word]:
                            continue
                    at += direction
                    word += direction

        # Chunks ascend: the first that ends beyond `low` is found by halving.
        chunk = chunk_bounds[passage]
        beyond = chunk_bounds[passage + 1]
        while chunk < beyond:
            middle = (chunk + beyond) // 2
            if chunk_ends[middle] <= low:
                chunk = middle + 1
            else:
                beyond = middle
        while chunk < chunk_bounds[passage + 1] and chunk_starts[chunk] < high:
            weight = 0
            first = num_page_words
            last = -1
            for at in range(max(low, chunk_starts[chunk]), min(high, chunk_ends[chunk])):
                if matched[at] >= 0:
                    weight += weights[base + at]
                    first = min(first, matched[at])
                    last = max(last, matched[at])
            size = chunk_ends[chunk] - chunk_starts[chunk]
            if weight >= threshold * chunk_weights[chunk] and last - first < MAX_STRETCH * size:
                out_text[count] = text
                out_chunk[count] = chunk
                out_first[count] = first
                out_after[count] = last + 1
                count += 1
            chunk += 1

        for at in range(low, high):
            matched[at] = -1
        place = after

    return count, place
