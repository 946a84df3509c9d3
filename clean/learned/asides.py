"""Text on a page besides its own: further articles, captions of galleries, terms in forms.

Sites append the next articles below their own one, so that readers continue scrolling. Such text is
as good as the page's own, and no feature of a block distinguishes it. The page does: the own
article has the page's headline, and the others have headlines of their own.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from clean.learned.blocks import PageBlocks
from clean.learned.layout import (
    CHARS,
    ELEMENT,
    END,
    FIRST_TAG_CHANNEL,
    IN_HEADING,
    LINK_CHARS,
    START,
    TAG_OF,
    TITLE_WORDS,
    WORDS,
)
from clean.learned.markup import CHANNEL_TAGS, HINTS, TAG
from clean.learned.tables import around

# An own article with fewer kept words may be only the introduction to the others.
OWN_WORDS: Final = 60
# A shorter headline is a label, such as "Comments".
HEADLINE_WORDS: Final = 3
# Least number of numbered headings in a container for it to be a gallery.
GALLERY_PAGES: Final = 4
# With as many words outside forms, the text of a form is not the page's.
OUTSIDE_WORDS: Final = 100
# Forms with kept text from which they are the posts of a board.
POST_FORMS: Final = 4
_THREAD: Final = ("forum", "thread", "topic", "question")
_BLOG: Final = "blog"
# Types of schema.org for pages of posts: nothing else is called so, a blog's comments neither.
_THREAD_TYPES: Final = (b"DiscussionForumPosting", b"QAPage")
_ARTICLE: Final = TAG["article"]
_FORM_TAG: Final = TAG["form"]
_FORM: Final = FIRST_TAG_CHANNEL + CHANNEL_TAGS.index("form")
_COMMENTS: Final = (HINTS.index("comment"), HINTS.index("reply"))
_ARTICLE_NAME = re.compile(rb"(?:class|id|itemtype)\s*=[^<>]*?(?:article|post|story|entry)", re.I)
_PAGE_OF = re.compile(rb"\s*(\d{1,3})\s*(?:/|of)\s*(\d{1,3})\b")


def without_further_articles(page: PageBlocks, keep: np.ndarray) -> np.ndarray:
    """`keep` without the articles behind the one with the page's headline.

    Posts of a thread and comments have no headlines, or the thread's. The entries of a front page
    have headlines, but none of them is the page's.
    """
    in_heading = page.place[:, IN_HEADING] > 0
    headline = _headline(page, in_heading)
    if headline < 0 or is_thread(page):
        return keep

    words = page.counts[:, WORDS]
    comments = (page.channels[:, _COMMENTS] > 0).any(axis=1)
    others = (
        in_heading
        & (words >= HEADLINE_WORDS)
        & ~comments
        & ~_is_linked(page)
        & (page.place[:, TAG_OF] == page.place[headline, TAG_OF])
    )
    others[: headline + 1] = False
    # Further posts of a thread repeat its headline.
    if not others.any() or (others & (_likeness(page) > 0)).any():
        return keep

    own, further = _articles_behind(page, headline, np.flatnonzero(others).tolist())
    if not further or words[keep & _inside(page, own)].sum() < OWN_WORDS:
        return keep

    gone = np.zeros(keep.size, bool)
    for element in further:
        gone |= _inside(page, element)
    return keep & ~gone


def _articles_behind(page: PageBlocks, headline: int, others: list[int]) -> tuple[int, list[int]]:
    """(the element of the page's own article, elements like it with another headline)"""
    line = _line(page, headline)
    where = {element: number for number, element in enumerate(line)}
    own = -1
    further: list[int] = []

    for other in others:
        path = _line(page, other)
        branch = next((n for n, element in enumerate(path) if element in where), 0)
        if not branch:
            continue
        mine, theirs = line[where[path[branch]] - 1], path[branch - 1]
        if where[path[branch]] and _is_article(page, theirs) and _is_article(page, mine):
            own = mine if own < 0 else own
            if mine == own and theirs not in further:
                further.append(theirs)

    return own, further


def _line(page: PageBlocks, block: int) -> list[int]:
    """The element of a block and those around it, from the inside."""
    line = []
    element = int(page.place[block, ELEMENT])
    while element >= 0:
        line.append(element)
        element = int(page.parents[element])
    return line


def _is_article(page: PageBlocks, element: int) -> bool:
    """True for an `article`, and for an element calling itself one."""
    if page.element_tags[element] == _ARTICLE:
        return True
    start = int(page.element_starts[element])
    tag = page.source[start : page.source.find(b">", start, start + 2000)]
    return bool(_ARTICLE_NAME.search(tag))


def is_thread(page: PageBlocks) -> bool:
    """True if the page calls itself a forum's."""
    if any(name in page.source for name in _THREAD_TYPES):
        return True
    return not _says(page, _BLOG) and any(_says(page, name) for name in _THREAD)


def _says(page: PageBlocks, hint: str) -> bool:
    number = HINTS.index(hint)
    return bool(int(page.marks[number // 64]) >> number % 64 & 1)


def without_galleries(page: PageBlocks, keep: np.ndarray) -> np.ndarray:
    """`keep` without the entries of a gallery. Their headings count its pictures: "3/31 May"."""
    entries: dict[tuple[int, int], list[int]] = {}
    for block in np.flatnonzero(keep & (page.place[:, IN_HEADING] > 0)).tolist():
        text = page.text[page.place[block, START] : page.place[block, END]].tobytes()
        if found := _PAGE_OF.match(text):
            entry = _parent(page, _parent(page, block=block))
            if entry >= 0:
                key = int(page.parents[entry]), int(found[2])
                entries.setdefault(key, []).append(block)

    keep = keep.copy()
    for (container, _), blocks in entries.items():
        if container >= 0 and len(blocks) >= GALLERY_PAGES:
            keep &= ~_inside(page, container)

    return keep


def without_forms(page: PageBlocks, keep: np.ndarray) -> np.ndarray:
    """`keep` without text in forms, such as terms of registration, if there is other text.

    Some boards print each post in a form of its own, and some sites the whole page in one.
    """
    in_form = page.channels[:, _FORM] > 0
    words = page.counts[:, WORDS]
    headline = _headline(page, page.place[:, IN_HEADING] > 0)
    is_whole_page = headline >= 0 and in_form[headline]
    if is_whole_page or words[keep & ~in_form].sum() < OUTSIDE_WORDS:
        return keep
    if _num_forms(page, keep & in_form) >= POST_FORMS:
        return keep
    return keep & ~in_form


def _num_forms(page: PageBlocks, inside: np.ndarray) -> int:
    """Number of forms around some blocks."""
    elements = {int(element) for element in page.place[inside, ELEMENT]}
    return len({around(page, element, _FORM_TAG) for element in elements})


def _likeness(page: PageBlocks) -> np.ndarray:
    """Words of each block in the page's title, less its other words, (b,) int32."""
    return np.asarray(2 * page.counts[:, TITLE_WORDS] - page.counts[:, WORDS])


def _is_linked(page: PageBlocks) -> np.ndarray:
    return np.asarray(2 * page.counts[:, LINK_CHARS] > page.counts[:, CHARS])


def _headline(page: PageBlocks, in_heading: np.ndarray) -> int:
    """The heading most like the page's title, or -1."""
    likeness = np.where(in_heading & ~_is_linked(page), _likeness(page), 0)
    return int(np.argmax(likeness)) if likeness.max(initial=0) > 1 else -1


def _parent(page: PageBlocks, element: int = -1, *, block: int = -1) -> int:
    """The element of a block, or the parent of an element; -1 for none."""
    if block >= 0:
        return int(page.place[block, ELEMENT])
    return int(page.parents[element]) if element >= 0 else -1


def _inside(page: PageBlocks, container: int) -> np.ndarray:
    """True for blocks within an element, (b,) bool."""
    inside = np.zeros(page.parents.size + 1, bool)
    inside[container + 1] = True
    for element in range(container + 1, page.parents.size):
        inside[element + 1] = inside[page.parents[element] + 1]
    return inside[page.place[:, ELEMENT] + 1]


def with_headline(page: PageBlocks, keep: np.ndarray) -> np.ndarray:
    """`keep` with the page's headline, if its article was kept."""
    headline = _headline(page, page.place[:, IN_HEADING] > 0)
    if headline < 0 or keep[headline] or not keep[headline:].any():
        return keep
    keep = keep.copy()
    keep[headline] = True
    return keep
