"""The measure of pages that hold each other, on pairs that are compared anyway."""

from __future__ import annotations

# Similarity from which a larger page that contains an earlier one is its duplicate.
LEAST_OF_LARGER = 0.5


def is_contained(num_earlier: int, num_later: int, jaccard: float, containment: float) -> bool:
    """True if one of two pages holds the other: the shared part of the smaller set is `containment`.

    The later page has to be the smaller one, or to add no more than is shared: a page that quotes a
    short one whole says more than that.
    """
    shared = round(jaccard * (num_earlier + num_later) / (1 + jaccard))
    return (
        shared >= containment * min(num_earlier, num_later)
        and shared > 0
        and (num_later <= num_earlier or jaccard >= LEAST_OF_LARGER)
    )
