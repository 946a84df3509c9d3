"""Features of containers beside a second implementation: lists and loops over ancestors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clean.learned.features.containers import describe_containers
from clean.learned.features.registry import CONTAINER, FIRST_CONTAINER, LEVELS, MAIN, NUM_CONTAINER
from clean.learned.layout import CHARS, ELEMENT, LINK_CHARS, WORDS

WIDTH = max(CHARS, LINK_CHARS, WORDS) + 1
COLUMNS = 1 + max(
    *(FIRST_CONTAINER + LEVELS * NUM_CONTAINER + column for column in CONTAINER), *MAIN
)


@st.composite
def pages(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts and places of blocks, and the parents of elements, which come before them."""
    num_elements = draw(st.integers(1, 8))
    parents = [draw(st.integers(-1, number - 1)) for number in range(num_elements)]
    elements = sorted(draw(st.lists(st.integers(-1, num_elements - 1), min_size=1, max_size=8)))
    counts = np.zeros((len(elements), WIDTH), np.int32)
    place = np.zeros((len(elements), ELEMENT + 1), np.int32)
    for row, element in enumerate(elements):
        # Paragraphs begin at 15 words outside links.
        words = draw(st.sampled_from([1, 14, 15, 16, 40]))
        links = draw(st.sampled_from([0, 0, 1, 2]))
        counts[row, WORDS] = words
        counts[row, CHARS] = 4 * words
        counts[row, LINK_CHARS] = min(4, links) * words
        place[row, ELEMENT] = element
    return counts, place, np.array(parents, np.int32)


@given(pages())
def test_containers_as_counted_by_hand(page: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    counts, place, parents = page
    out = np.full((len(counts), COLUMNS), -1, np.float32)
    describe_containers(counts, place, parents, out)
    for row, expected in enumerate(_expected(counts.tolist(), place.tolist(), parents.tolist())):
        found = {column: float(out[row, column]) for column in expected}
        assert found == {column: float(np.float32(value)) for column, value in expected.items()}


def _expected(
    counts: list[list[int]], place: list[list[int]], parents: list[int]
) -> Iterator[dict[int, float]]:
    elements = [each[ELEMENT] for each in place]
    free = [1024 * c[WORDS] * (c[CHARS] - c[LINK_CHARS]) // c[CHARS] for c in counts]
    paragraph = [each >= 15 * 1024 for each in free]

    def inside(element: int) -> list[int]:
        """Blocks of the element and of those within it. -1 is the page."""
        return [row for row, own in enumerate(elements) if element in _ancestors(own, parents)]

    def container_above(element: int) -> int:
        *_, page = chain = _ancestors(element, parents)[1:] or [-1]
        larger = (each for each in chain if len(inside(each)) > len(inside(element)))
        return next(larger, page)

    weights = dict.fromkeys(range(-1, len(parents)), 0)
    for row, element in enumerate(elements):
        if paragraph[row]:
            container = container_above(element)
            weights[container] += 2 * free[row]
            if container >= 0:
                weights[container_above(container)] += free[row]
    main = max(weights, key=lambda element: (weights[element], -element))

    for row, element in enumerate(elements):
        expected = {}
        at = element
        for level in range(LEVELS):
            own, first = inside(at), FIRST_CONTAINER + level * NUM_CONTAINER
            chars = sum(counts[each][CHARS] for each in own)
            linked = sum(counts[each][LINK_CHARS] for each in own)
            expected |= {
                first + CONTAINER.word_share: _share(sum(free[each] for each in own), sum(free)),
                first + CONTAINER.link_share: linked / chars,
                first + CONTAINER.block_share: len(own) / len(elements),
                first + CONTAINER.words_per_block: sum(free[each] for each in own)
                / len(own)
                / 1024,
                first + CONTAINER.paragraph_share: sum(paragraph[each] for each in own) / len(own),
                first + CONTAINER.index_: row - own[0],
            }
            at = container_above(at)

        own = inside(main)
        first, last = (own[0], own[-1]) if own else (len(elements), len(elements))
        yield expected | {
            MAIN.in_main: row in own,
            MAIN.before_main: max(0, first - row),
            MAIN.after_main: max(0, row - last),
            MAIN.main_word_share: _share(sum(free[each] for each in own), sum(free)),
            MAIN.main_block_share: len(own) / len(elements),
        }


def _ancestors(element: int, parents: list[int]) -> list[int]:
    """The element itself first, the page last."""
    chain = [element]
    while chain[-1] >= 0:
        chain.append(parents[chain[-1]])
    return chain


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
