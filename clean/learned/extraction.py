"""Extracts the main text by classifying blocks with a trained model, as Dragnet did for GPT-2.

A page is cut into blocks (`blocks`). Each block becomes a row of features (`features`), and each
row the block's probability of content (`trees`). A second model judges again, with the first one's
probabilities of the blocks around as further features (`context`). Posts of a thread and other
repeated elements are then judged together (`posts`).

The blocks kept are those with the greatest expected F-beta together (Lewis 1995; Nan et al. 2012:
the best set is everything above a threshold, half of its own F1). A clear page is cut cleanly, and
a vague one keeps more. The theory assumes independent blocks, but the entries of a side column are
right or wrong together. A block therefore needs a least probability. It is higher if something on
the page is clear.

Rules then correct what a choice by block cannot see: comments, rows of tables, hidden text and
second copies. Nothing is carried from one page to the next.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final, NamedTuple, Protocol

import numpy as np
from xxhash import xxh3_128_hexdigest

from clean.learned import context as contexts
from clean.learned import trees
from clean.learned.asides import (
    is_thread,
    with_headline,
    without_forms,
    without_further_articles,
    without_galleries,
)
from clean.learned.blocks import PageBlocks, blocks, scan
from clean.learned.compiled import first_run
from clean.learned.context import NUM_CONTEXT, context
from clean.learned.copies import without_copies
from clean.learned.features import NAMES, NUM_FEATURES, features
from clean.learned.hidden import without_hidden
from clean.learned.layout import (
    END,
    FIRST_TAG_CHANNEL,
    HIDDEN,
    HIDDEN_BY_STYLE,
    OFF_SCREEN,
    ROW,
    START,
    WORDS,
)
from clean.learned.markdown import render_markdown
from clean.learned.markup import CHANNEL_TAGS, HINTS
from clean.learned.posts import judged_by_place, places, with_whole_places
from clean.learned.render import render
from clean.learned.tables import (
    Row,
    data_rows,
    with_whole_rows,
    with_whole_tables,
    without_layout_rows,
)
from clean.learned.trees import Model
from clean.rewrite import rewritten_bytes
from corpus.compiled_registry import example
from corpus.errors import InputError

MODEL_FILE: Final = "model.npz"


# A page with fewer words outside its comments consists of its comments.
LEAST_WORDS: Final = 25
# Value of the hint's channel. Marks more than 13 levels above are those of the page.
NEAR_COMMENT: Final = 2
_NAV: Final = FIRST_TAG_CHANNEL + CHANNEL_TAGS.index("nav")
_COUNTER = re.compile(
    rb"\s*\d[\d.,]*\s?[km]?\s+(?:(?:people|users|others)\s+)?(?:likes?|shares?|comments?|views?|retweets?"
    rb"|reactions?|claps?|upvotes?|points?|replies|tweets?|followers|reads?)(?:\s+this)?\s*",
    re.I,
)
# Words of a longest counter.
COUNTER_WORDS: Final = 6


class Use(StrEnum):
    """The purpose of the text: the weight of a missing word against a foreign one."""

    PRECISION = "precision"
    BALANCED = "balanced"
    RECALL = "recall"


# The weight of recall against precision in F-beta (van Rijsbergen 1979).
BETA: Final = {Use.PRECISION: 0.5, Use.BALANCED: 0.8, Use.RECALL: 1.5}
# A block less likely by the first model is no content, and the second one is not asked. It is a
# third of all blocks and .14 % of the content (2026-11, on pages of unseen domains).
LEAST_FIRST_CHANCE: Final = 0.02
# A page has no content if its best block has a smaller probability.
LEAST_CHANCE: Final = 0.25
# The least probability of a kept block: if nothing on the page is clear, and if something is.
VAGUE: Final = {Use.PRECISION: (0.4, 0.5), Use.BALANCED: (0.35, 0.5), Use.RECALL: (0.0, 0.0)}
CLEAR: Final = 0.8
# Something is clear if so many words have the probability `CLEAR`.
CLEAR_WORDS: Final = 30
# A block with this share of the best block's probability is never too vague.
OF_THE_BEST: Final = 0.6


def extractor(use: Use = Use.BALANCED) -> Callable[[str], str]:
    """The extractor with the model of the package: decoded HTML to main text, or empty.

    Compiled code is ready when this returns. That takes half a minute the first time on a machine
    and half a second later.
    """
    extract = page_extractor(use)
    return lambda html: extract(html)[0]


@example
def _extract() -> None:
    extractor()


class PageText(NamedTuple):
    """The main text of a page in the wanted forms, its number of shown words, and its blocks."""

    text: str
    visible_words: int
    blocks: PageBlocks
    markdown: str | None = None


def page_extractor(
    use: Use = Use.BALANCED, *, markdown: bool = False, links: bool = False
) -> Callable[[str], PageText]:
    """As `extractor`, with the words shown by the page, and its text as Markdown if wanted."""
    judge = chances(model())

    def extract(html: str) -> PageText:
        page = blocks(rewritten_bytes(html))
        place = places(page)
        keep, rows = kept(page, judge(page, place), use, place)
        formatted = None
        if markdown:
            formatted = render_markdown(page, with_headline(page, keep), rows, links=links)
        return PageText(render(page, keep, rows), visible_words(page), page, formatted)

    with first_run(scan):
        extract("<title>A title</title><p>A first page, so that the loops are compiled.")
    return extract


@cache
def model_digest() -> str:
    """xxh3-128 of the package's model. Texts depend on it, so it is an input of a batch."""
    return xxh3_128_hexdigest(_model_bytes())


def _model_bytes() -> bytes:
    return resources.files("clean.learned").joinpath(MODEL_FILE).read_bytes()


@cache
def model() -> Model:
    """The model of the package.

    Raises: InputError if its features are not those of this code.
    """
    found = trees.load(_model_bytes())
    if found.names != NAMES + contexts.NAMES:
        raise InputError(
            "the model was fitted with other features; "
            "fit it again with `python -m tools.fit_extractor`"
        )

    return found


class Judge(Protocol):
    """The function from a page to its blocks' probabilities of content, (b,) in 0..1."""

    def __call__(self, page: PageBlocks, place: np.ndarray | None = None) -> np.ndarray: ...


def chances(found: Model) -> Judge:
    """Returns the judge with a model."""
    first, second = found.forests

    def judge(page: PageBlocks, place: np.ndarray | None = None) -> np.ndarray:
        rows = features(page, NUM_CONTEXT)
        chance = chance_of(trees.scores(first, rows))
        rows[:, NUM_FEATURES:] = context(page, chance)
        vague = np.flatnonzero(chance >= LEAST_FIRST_CHANCE)
        chance[vague] = chance_of(trees.scores(second, rows, vague))
        return judged_by_place(page, chance, place)

    return judge


def chance_of(log_odds: np.ndarray) -> np.ndarray:
    """Log-odds to probabilities by the logistic function, rounded.

    exp() may differ in its last bit between machines. Rounding far above that bit removes the
    difference.
    """
    return np.round(1 / (1 + np.exp(-log_odds)), 6)


def extracted(page: PageBlocks, chance: np.ndarray, use: Use) -> str:
    """The text selected by these probabilities."""
    keep, rows = kept(page, chance, use)
    return render(page, keep, rows)


class Kept(NamedTuple):
    """The blocks of the main text, (b,) bool, and the rows of data by their value of ROW."""

    blocks: np.ndarray
    rows: dict[int, Row]


def kept(page: PageBlocks, chance: np.ndarray, use: Use, place: np.ndarray | None = None) -> Kept:
    """The main text of a page; none if it has no elements (JSON, an image).

    `place` is from `posts.places`, if it is known.
    """
    rows = data_rows(page)
    if not page.parents.size:
        return Kept(np.zeros(chance.size, bool), rows)

    keep = with_whole_places(page, chosen(chance, page.counts[:, WORDS], use), place)
    keep = without_comments(page, keep)
    keep = without_further_articles(page, without_forms(page, without_galleries(page, keep)))
    if rows and is_thread(page):
        rows = without_layout_rows(page, keep, rows)
    keep = with_whole_tables(page, with_whole_rows(page, keep, rows), rows)
    keep = without_copies(page, without_hidden(page, keep), rows)
    return Kept(without_counters(page, keep, rows), rows)


def visible_words(page: PageBlocks) -> int:
    """Words shown by the page, navigation left out."""
    state = page.place[:, HIDDEN]
    shown = (state != HIDDEN_BY_STYLE) & (state != OFF_SCREEN) & (page.channels[:, _NAV] == 0)
    return int(page.counts[shown, WORDS].sum())


def without_counters(page: PageBlocks, keep: np.ndarray, rows: dict[int, Row]) -> np.ndarray:
    """`keep` without blocks that only count reactions, such as "2 Likes". Cells of data stay."""
    short = np.flatnonzero(keep & (page.counts[:, WORDS] <= COUNTER_WORDS))
    gone = [
        block
        for block in short.tolist()
        if int(page.place[block, ROW]) not in rows
        and _COUNTER.fullmatch(
            page.text[page.place[block, START] : page.place[block, END]].tobytes()
        )
    ]
    if gone:
        keep = keep.copy()
        keep[gone] = False

    return keep


def chosen(chance: np.ndarray, words: np.ndarray, use: Use) -> np.ndarray:
    """Blocks to keep, (b,) bool: those with the greatest expected F-beta, without vague ones."""
    if chance.size == 0 or chance.max() < LEAST_CHANCE:
        return np.zeros(chance.size, bool)
    least = max(best_threshold(chance, words, BETA[use]), least_chance(chance, words, use))
    return chance >= least


def best_threshold(chance: np.ndarray, words: np.ndarray, beta: float) -> float:
    """The threshold of the set with the greatest expected F-beta, if blocks were independent."""
    order = np.argsort(-chance, kind="stable")
    sizes = words[order].astype(np.float64)
    hits = np.cumsum(chance[order] * sizes)
    kept = np.cumsum(sizes)
    expected = (1 + beta**2) * hits / (kept + beta**2 * hits[-1])
    return float(chance[order[int(np.argmax(expected))]])


def least_chance(chance: np.ndarray, words: np.ndarray, use: Use) -> float:
    """The probability below which a block is too vague for this page."""
    clear = words[chance >= CLEAR].sum() >= CLEAR_WORDS
    return min(VAGUE[use][int(clear)], OF_THE_BEST * float(chance.max()))


def without_comments(page: PageBlocks, keep: np.ndarray) -> np.ndarray:
    """`keep` without blocks under a mark of comments, unless the page is a thread.

    A page is a thread if it says so of itself, or if it has next to nothing else. The training data
    has few articles with comments. With this rule F1 rose from .881 to .896 on 649 pages of 2012's
    blogs and news and from .959 to .967 on news, and did not change on WCXB with its 86 pages of
    forums (2026-11).
    """
    if is_thread(page):
        return keep

    rest = keep & (page.channels[:, _hint("comment")] < NEAR_COMMENT)
    return rest if page.counts[rest, WORDS].sum() >= LEAST_WORDS else keep


def _hint(name: str) -> int:
    return HINTS.index(name)
