"""The names of all features and their columns, both generated from one list.

A kernel writes `out[block, OWN.words] = ...`: name and value are side by side, and the column
follows from the order below. The model stores the names, and a model with other names is refused. A
trailing underscore keeps a name apart from the methods of tuples and is not part of the feature's
name.

Features growing with the page are capped (`CAPS`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

from clean.learned.markup import CHANNEL_TAGS, GROUPS, HINTS, PAGE_MARKS

# Described containers of a block: its own element and four above it.
LEVELS: Final = 5
# Offsets of the described neighbours, in blocks.
NEIGHBOURS: Final = (-3, -2, -1, 1, 2, 3)
# Reaches of the means around a block, in blocks.
WINDOWS: Final = (2, 6, 20)
# Tags making kinds of block.
KINDS: Final = (
    *("p", "li", "div", "td", "h1", "h2", "h3", "h4", "pre", "blockquote", "dd", "dt"),
    *("figcaption", "span", "a", "button", "section", "article", "body"),
)
ZONE_HINTS: Final = (
    *("comment", "reply", "post", "article", "message", "thread", "forum", "product", "content"),
)


class Own(NamedTuple):
    """A block by itself: counts, shares of its words or characters, and its place in the page."""

    words: int
    free_words: int
    chars_per_word: int
    link_share: int
    links: int
    anchors: int
    stop_share: int
    ends: int
    ends_per_word: int
    commas_per_word: int
    upper_share: int
    digit_share: int
    capital_share: int
    number_share: int
    long_share: int
    symbol_share: int
    bold_share: int
    images: int
    fields: int
    tags: int
    tags_per_word: int
    breaks: int
    title_share: int
    title_words: int
    first_class: int
    last_class: int
    depth: int
    hidden: int
    pre: int
    in_item: int
    in_row: int
    in_cell: int
    heading: int
    place_share: int
    index_share: int
    words_before_share: int
    index_: int
    left: int


class Container(NamedTuple):
    """One of the containers of a block. Columns are relative to the level's first."""

    word_share: int
    link_share: int
    block_share: int
    words_per_block: int
    paragraph_share: int
    index_: int


class Main(NamedTuple):
    """The main container and where the block is to it."""

    in_main: int
    before_main: int
    after_main: int
    main_word_share: int
    main_block_share: int


class Neighbour(NamedTuple):
    """A block nearby. Columns are relative to the neighbour's first."""

    words: int
    link_share: int
    stop_share: int
    ends: int
    kind: int
    near_share: int
    last_class: int
    capital_share: int
    title_share: int


class Heading(NamedTuple):
    """The heading above a block, and the next one."""

    level: int
    distance: int
    words: int
    link_share: int
    title_share: int
    next_distance: int
    next_level: int


class Title(NamedTuple):
    """Position relative to the block most like the page's title, and to the first h1."""

    after_title: int
    title_distance: int
    after_h1: int
    h1_distance: int


class Repeat(NamedTuple):
    """Repetitions of the block's words on the page, and of its kind in its container."""

    repeats: int
    repeated_before: int
    same_kind_siblings: int


class Article(NamedTuple):
    """The `<article>` elements of the page, and the number of the block's own."""

    articles: int
    article_number: int


class Belonging(NamedTuple):
    """Containers up to the headline, and the outermost `<article>` of the block."""

    title_levels: int
    h1_levels: int
    article_share: int
    article_to_most: int
    article_headline: int
    article_title: int
    article_h1: int


class Branch(NamedTuple):
    """Elements like one that holds the block. Columns are relative to the level's first."""

    twins: int
    to_twins: int
    twin_words: int


class Outline(NamedTuple):
    """The heading above the heading above a block."""

    level: int
    words: int
    link_share: int
    title_share: int


class Stated(NamedTuple):
    """The text stated by the page for machines."""

    own: int
    words: int
    covered: int
    distance: int


class PageTotals(NamedTuple):
    """The page as a whole."""

    blocks: int
    words: int
    link_share: int
    paragraphs: int
    paragraph_word_share: int
    items: int
    bytes_per_word: int
    headings: int
    fields: int


class Zone(NamedTuple):
    """Share of the page's words under a hint. Columns are relative to the hint's first."""

    page: int
    before: int


# The cap of each feature that grows with the page, and of distances below. A greater value
# becomes this one.
#
# The trees have seen few larger values, so they judge them by chance: without caps, 13 novels of
# one page each kept 5 % of their words, with them 100 %, and F1 on 19 sources changed by -.001 to
# +.008 (2026-11). Each cap is the 90th percentile of the greatest value on a page, over the 1,044
# pages that the model was fitted on.
CAPS: Final = {
    "depth": 26,
    "index": 526,
    "left": 526,
    "container0_index": 41,
    "container1_index": 360,
    "container2_index": 481,
    "container3_index": 517,
    "container4_index": 524,
    "before_main": 270,
    "after_main": 187,
    "repeats": 22,
    "repeated_before": 21,
    "same_kind_siblings": 67,
    "articles": 8,
    "article_number": 7,
    **{f"container{level}_to_twins": 20 for level in range(LEVELS)},
    **{f"container{level}_twins": 60 for level in range(LEVELS)},
    **{f"container{level}_twin_words": 1000 for level in range(LEVELS)},
    "page_blocks": 527,
    "page_words": 4759,
    "page_paragraphs": 81,
    "page_bytes_per_word": 271,
}
# The floor of each feature that shrinks with the page: a paragraph's share of the blocks, on a page
# of as many blocks as the cap. Without it, manuals and FAQs of 2,400 paragraphs lost up to 25 %.
FLOORS: Final = {f"container{level}_block_share": 1 / 527 for level in range(LEVELS)}
MAX_HEADING_DISTANCE: Final = 151
MAX_NEXT_HEADING_DISTANCE: Final = 195
MAX_TITLE_DISTANCE: Final = 380
# Caps of distances, applied where they are computed: there `FAR` still differs from a distance.
MAX_H1_DISTANCE: Final = 404
# Containers to search for the headline.
MAX_LEVELS: Final = 12
# A distance in blocks that means "none".
FAR: Final = 1000

_names: list[str] = []
T = TypeVar("T", bound=tuple[int, ...])


def _columns(kind: type[T], prefix: str = "") -> T:
    """Appends the features of a subject and returns their columns."""
    first = _append(getattr(kind, "_fields"), prefix)  # noqa: B009, unknown to the type checker
    return kind(*range(first, len(_names)))


def _relative(kind: type[T], prefixes: Sequence[str]) -> tuple[T, int]:
    """Appends a subject once per prefix. Returns its columns from 0, and the first of all."""
    fields = getattr(kind, "_fields")  # noqa: B009
    first = len(_names)
    for prefix in prefixes:
        _append(fields, prefix)
    return kind(*range(len(fields))), first


def _append(fields: Sequence[str], prefix: str) -> int:
    """Appends features by name and returns the column of the first."""
    first = len(_names)
    _names.extend(prefix + field.rstrip("_") for field in fields)
    return first


OWN: Final = _columns(Own)
FIRST_GROUP: Final = _append(tuple(GROUPS), "group_")
FIRST_KIND: Final = _append(KINDS, "kind_")
CONTAINER, FIRST_CONTAINER = _relative(Container, [f"container{n}_" for n in range(LEVELS)])
MAIN: Final = _columns(Main)
FIRST_WINDOW: Final = _append([str(window) for window in WINDOWS], "window")
NEIGHBOUR, FIRST_NEIGHBOUR = _relative(Neighbour, [f"next{n:+d}_" for n in NEIGHBOURS])
HEADING: Final = _columns(Heading, "heading_")
FIRST_HEADING_GROUP: Final = _append(tuple(GROUPS), "heading_group_")
TITLE: Final = _columns(Title)
REPEAT: Final = _columns(Repeat)
ARTICLE: Final = _columns(Article)
BELONGING: Final = _columns(Belonging)
BRANCH, FIRST_BRANCH = _relative(Branch, [f"container{n}_" for n in range(LEVELS)])
OUTLINE: Final = _columns(Outline, "outline_")
FIRST_OUTLINE_GROUP: Final = _append(tuple(GROUPS), "outline_group_")
STATED: Final = _columns(Stated, "stated_")
PAGE: Final = _columns(PageTotals, "page_")
FIRST_ZONE: Final = _append(
    [f"{field}_{hint}" for hint in ZONE_HINTS for field in Zone._fields], "zone_"
)
ZONE: Final = Zone(*range(len(Zone._fields)))
FIRST_MARK: Final = _append(PAGE_MARKS, "mark_")
FIRST_CHANNEL: Final = _append([*HINTS, *(f"<{tag}>" for tag in CHANNEL_TAGS)], "near_")

NAMES: Final = tuple(_names)
NUM_FEATURES: Final = len(NAMES)
NUM_KINDS: Final = len(KINDS)
NUM_CONTAINER: Final = len(Container._fields)
NUM_BRANCH: Final = len(Branch._fields)
NUM_NEIGHBOUR: Final = len(Neighbour._fields)
NUM_ZONE: Final = len(Zone._fields)
# Channels of the zones.
ZONES: Final = tuple(HINTS.index(hint) for hint in ZONE_HINTS)
