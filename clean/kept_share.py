"""The share of a page's visible words kept by its document, as counts of a batch.

Failing extraction of a site is seen here in the same run: as documents far below the usual share
of their domain, and as a shift of the distribution.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, Final

# Upper bounds of the classes of the distribution. The rest is the class `over_0.9`.
BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
# Least documents of a domain in a part for its usual share to be known.
MIN_PAGES: Final = 8
# On shorter pages the share varies too much.
MIN_VISIBLE_WORDS: Final = 150
# A share below this part of its domain's median is unusual.
FAR_BELOW: Final = 1 / 3
UNUSUAL: Final = "kept_share:unusual_for_domain"
# Names of the classes, from the lowest share.
CLASSES: Final = (*(f"up_to_{bound:g}" for bound in BOUNDS), f"over_{BOUNDS[-1]:g}")


def count_name(name: str) -> str:
    """The name of a class in a manifest's counts."""
    return f"kept_share:{name}"


def class_label(name: str) -> str:
    """A class for people, such as "up to 25 %"."""
    words, _, bound = name.rpartition("_")
    return f"{words.replace('_', ' ')} {100 * float(bound):g} %"


def kept_share(num_words: int, visible_words: int) -> float:
    """Kept words by visible ones, at most 1."""
    return min(1.0, num_words / visible_words) if visible_words else 1.0


def share_counts(documents: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Counts of the documents of a part by class of kept share, and of unusual ones."""
    counts: Counter[str] = Counter()
    by_domain: dict[str, list[float]] = defaultdict(list)
    for row in documents:
        if row["visible_words"] is None:
            continue
        share = kept_share(row["num_words"], row["visible_words"])
        counts[count_name(_class_of(share))] += 1
        if row["visible_words"] >= MIN_VISIBLE_WORDS:
            by_domain[row["domain"]].append(share)

    for shares in by_domain.values():
        if len(shares) >= MIN_PAGES:
            usual = median(shares)
            counts[UNUSUAL] += sum(share < FAR_BELOW * usual for share in shares)

    return +counts


def _class_of(share: float) -> str:
    return CLASSES[bisect_left(BOUNDS, share)]
