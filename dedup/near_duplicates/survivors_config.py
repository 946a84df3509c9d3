"""Settings of `survivor_steps`."""

from __future__ import annotations

from typing import ClassVar, Literal

from corpus.config import Section


class SurvivorsConfig(Section):
    """Settings of the choice of survivors."""

    outside_identity: ClassVar[frozenset[str]] = frozenset({"pages_per_task"})

    prefer: tuple[Literal["clean", "score", "length"], ...] = ("clean", "score", "length")
    """Order of preference among near-duplicates of a batch: `clean` (no overlap with a test set),
    higher `score`, `length` (more distinct shingles), then the smaller doc_id."""
    pages_per_task: int = 500_000
    """Pages of large buckets that one task settles, some 3 KB of memory each. A larger group of
    connected pages is one task."""

    def model_post_init(self, context: object) -> None:
        if len(set(self.prefer)) < len(self.prefer):
            raise ValueError(f"prefer is {list(self.prefer)}; allowed: each name once")
        if self.pages_per_task < 1:
            raise ValueError(f"pages_per_task is {self.pages_per_task}; allowed: at least 1")
