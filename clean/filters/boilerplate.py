"""Lines recurring on most pages of one site: menus, notices and teasers kept by the extractor.

A line is identified by its words, white space aside. It is removed if it is on at least `min_frac`
of the documents of its registered domain and on at least `min_pages` of them, within one batch. Off
in every preset: WebText did nothing of the kind, and FineWeb found no gain in removing lines
recurring across sites (Penedo et al. 2024).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import xxhash
from pydantic import Field

from corpus.config import Section

_BLANK_LINES = re.compile("\n{3,}")


class BoilerplateConfig(Section):
    """Removal of lines recurring on most pages of a domain."""

    remove: bool = False
    """Remove such lines. This needs an exchange of all lines by domain."""
    min_frac: float = Field(default=0.5, gt=0, le=1)
    """Least share of a domain's documents that hold the line. Ours: most of them."""
    min_pages: int = Field(default=10, ge=2)
    """Least number of a domain's documents that hold the line. Ours: fewer may be chance."""
    min_line_chars: int = Field(default=8, ge=1)
    """Length from which lines are removed, characters. Brackets, rules and labels recur in code and
    tables.
    """

    def without_effect(self) -> dict[str, str]:
        """The thresholds, while nothing is removed."""
        if self.remove:
            return {}
        reason = "clean.boilerplate.remove is false"
        return dict.fromkeys(("min_frac", "min_pages", "min_line_chars"), reason)


class Cut(NamedTuple):
    """A text without its boilerplate, and the number of lines removed."""

    text: str
    num_lines: int


def line_key(line: str, config: BoilerplateConfig) -> int | None:
    """The xxh3-64 of a line's words, or None for too short a line."""
    words = " ".join(line.split())
    return xxhash.xxh3_64_intdigest(words.encode()) if len(words) >= config.min_line_chars else None


def line_keys(text: str, config: BoilerplateConfig) -> list[int]:
    """The keys of the different lines of a text, ascending."""
    keys = {line_key(line, config) for line in text.split("\n")}
    return sorted(key for key in keys if key is not None)


def recurring(pages: Iterable[list[int]], config: BoilerplateConfig) -> frozenset[int]:
    """Keys of a site's boilerplate, given the different keys of each of its documents."""
    counts: Counter[int] = Counter()
    num_pages = 0
    for keys in pages:
        counts.update(keys)
        num_pages += 1

    least = max(config.min_pages, config.min_frac * num_pages)
    return frozenset(key for key, count in counts.items() if count >= least)


def without(text: str, keys: frozenset[int], config: BoilerplateConfig) -> Cut:
    """`text` without the lines of these keys."""
    lines = text.split("\n")
    kept = [line for line in lines if line_key(line, config) not in keys]
    if len(kept) == len(lines):
        return Cut(text, 0)
    return Cut(_BLANK_LINES.sub("\n\n", "\n".join(kept)).strip("\n"), len(lines) - len(kept))
