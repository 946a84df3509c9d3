"""Numbers about a sheet for the linear model: phrases by zone, and the little else on the page.

A phrase says more the shorter the page is, so several features are multiplied by how little
prose, main text and text there is: e to the minus words by a scale.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from clean.soft_failures.evidence import NUM_ZONES, PHRASE, REST, TITLE, ZONE, matches
from clean.soft_failures.lexicon import FIRST_SURE, GROUPS, Lexicon
from clean.soft_failures.sheet import COUNT_NAMES, FLAG_NAMES, MAIN, NUM_WORDS, PROSE, Sheet

HEADING_ZONE: Final = 1
ZONE_NAMES: Final = ("title", "heading", "opening", "links", "rest")
NAMED_ZONES: Final = 4
# Words by which the weight of a phrase falls to 1/e: of prose, main text and all text.
PROSE_SCALE, MAIN_SCALE, WORDS_SCALE = 60.0, 100.0, 150.0
# A sentence of this many words is certain; a longer one says no more.
CERTAIN_WORDS: Final = 8
# Words of the least page: below, a share of its words would say nothing.
LEAST_WORDS: Final = 20
_KINDS = GROUPS[:FIRST_SURE]

NAMES: Final = (
    *(f"{kind} in {zone}" for zone in ZONE_NAMES[:NAMED_ZONES] for kind in _KINDS),
    *(f"{kind} density" for kind in _KINDS),
    *(f"absence in {zone}" for zone in ZONE_NAMES),
    *(f"phrases in {zone}" for zone in ZONE_NAMES[:NAMED_ZONES]),
    "phrases",
    *(f"log {name}" for name in COUNT_NAMES),
    *FLAG_NAMES,
    *(f"{kind} heads a short page" for kind in _KINDS),
    *(f"{kind} opens a short page" for kind in _KINDS),
    "little prose",
    "little main text",
    "little text",
    "absence heads a short page",
    *(f"sentence words in {zone}" for zone in ZONE_NAMES),
    *(f"longest sentence in {zone}" for zone in ZONE_NAMES),
    "share of title",
    "share of headings",
    "share of main text",
    "share of text",
    *(
        f"share of {zone} by little {of}"
        for of in ("prose", "main text", "text")
        for zone in ("title", "headings")
    ),
    *(f"sentences by little {of}" for of in ("prose", "main text", "text")),
    *(f"longest by little {of}" for of in ("prose", "main text", "text")),
    "title and body",
    "title and body by little prose",
    "title and body by little main text",
    "several kinds",
)


class PhraseFindings(NamedTuple):
    """The phrases found on a sheet, and their sums."""

    matches: np.ndarray  # (m, 3) int32, see evidence
    groups: np.ndarray  # (NUM_ZONES, groups) int64, matches by zone
    zones: np.ndarray  # (NUM_ZONES, 3) int32, see evidence
    sure_words: np.ndarray  # (NUM_ZONES,) words of distinct sure sentences
    longest: np.ndarray  # (NUM_ZONES,) words of the longest sure sentence
    title_share: float
    main_share: float


def findings(page: Sheet, lexicon: Lexicon) -> PhraseFindings:
    """Searches a sheet for the phrases of a lexicon."""
    found, zones = matches(page.text, page.zones, lexicon)
    in_zone = found[:, ZONE] == np.arange(NUM_ZONES)[:, None]
    groups = in_zone.astype(np.int64) @ lexicon.groups[found[:, PHRASE]].astype(np.int64)

    sure_words, longest = np.zeros(NUM_ZONES), np.zeros(NUM_ZONES)
    sure = found[lexicon.sure[found[:, PHRASE]]]
    if sure.size:
        # One number for a zone and a phrase: `np.unique` by rows takes ten times as long.
        size = len(lexicon.phrases)
        zone, phrase = np.divmod(np.unique(sure[:, ZONE] * size + sure[:, PHRASE]), size)
        words = lexicon.num_words[phrase]
        np.add.at(sure_words, zone, words)
        np.maximum.at(longest, zone, words)

    main = max(float(page.counts[MAIN]), LEAST_WORDS)
    return PhraseFindings(
        found,
        groups,
        zones,
        sure_words,
        longest,
        _share(sure_words[TITLE], zones[TITLE, 0]),
        float(sure_words[TITLE + 1 :].sum() / main),
    )


def features(page: Sheet, found: PhraseFindings) -> np.ndarray:
    """The row of a sheet, (len(NAMES),) float64."""
    groups = found.groups[:, :FIRST_SURE]
    zones = found.zones.astype(np.float64)
    total = max(1.0, zones[:, 0].sum())
    little = np.exp(-page.counts[[PROSE, MAIN, NUM_WORDS]] / (PROSE_SCALE, MAIN_SCALE, WORDS_SCALE))
    heads = (groups[TITLE] > 0) | (groups[HEADING_ZONE] > 0)
    sure = found.sure_words
    body = sure[TITLE + 1 :].sum()
    longest = np.minimum(found.longest, CERTAIN_WORDS)
    title = found.title_share
    headings = _share(sure[HEADING_ZONE], zones[HEADING_ZONE, 0])
    both = float(title > 0 and body > 0)

    return np.concatenate(
        (
            (groups[:NAMED_ZONES] > 0).ravel(),
            np.log1p(groups.sum(0)) / (1 + np.log1p(total) / 3),
            np.minimum(zones[:, 2], 3),
            zones[:NAMED_ZONES, 1] / np.maximum(zones[:NAMED_ZONES, 0], 1),
            [zones[:, 1].sum() / total],
            np.log1p(page.counts),
            page.flags,
            heads * little[0],
            (groups[2] > 0) * little[0],
            little,
            [min(1.0, zones[:2, 2].sum()) * little[0]],
            np.log1p(sure),
            longest,
            [title, headings, min(1.0, sure.sum() / max(LEAST_WORDS, page.counts[MAIN]))],
            [min(1.0, sure.sum() / max(LEAST_WORDS, page.counts[NUM_WORDS]))],
            np.outer(little, (title, headings)).ravel(),
            np.log1p(sure[2 : REST + 1].sum()) * little,
            longest[1:].max() * little,
            [both, both * little[0], both * little[1]],
            [float((found.groups[:, FIRST_SURE:].sum(0) > 0).sum() > 1)],
        )
    ).astype(np.float64)


def _share(part: float, whole: float) -> float:
    return min(1.0, float(part) / max(1.0, float(whole)))
