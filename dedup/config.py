"""Settings of the stage, composed of those in its modules."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator, model_validator

from corpus.config import Section
from dedup.against import sources
from dedup.contamination.overlap import OverlapConfig
from dedup.near_duplicates import lsh
from dedup.near_duplicates.lsh import LshConfig
from dedup.near_duplicates.minhash import MinhashConfig
from dedup.near_duplicates.survivors_config import SurvivorsConfig
from dedup.passages_config import PassagesConfig
from dedup.words import ShinglesConfig


class DedupConfig(Section):
    """All of `[dedup]`."""

    common = frozenset(
        {
            "threshold",
            "testsets",
            "against",
        }
    )

    retired = {"engine": "loops are always compiled"}

    threshold: float = 0.75
    """Exact Jaccard similarity from which a page is a near-duplicate.

    Where the S-curve of the default bands is steep.
    """
    containment: float = 0.0
    """Share of the smaller page's shingles from which it counts as contained in another page with
    which it shares a band; 0: off. The later page goes if it is the smaller one, or at least half
    of the text of both is shared."""
    survivors: SurvivorsConfig = SurvivorsConfig()
    """The choice of survivors among near-duplicates."""
    passages: PassagesConfig = PassagesConfig()
    """Paragraphs that several kept pages have."""
    shingles: ShinglesConfig = ShinglesConfig()
    """What near-duplicates are compared by."""
    minhash: MinhashConfig = MinhashConfig()
    """How shingles become a signature."""
    lsh: LshConfig = LshConfig()
    """How signatures are cut into bands."""
    testsets: tuple[str, ...] = ()
    """Evaluation sets whose overlap is measured and removed: files, folders (corpus/evaluation_sets/files.py) or `hf:<owner>/<name>` on the
    Hugging Face hub; none: no overlap step."""
    against: tuple[str, ...] = ()
    """Documents that exist elsewhere, as if they were a batch before all others: Parquet or JSON-lines
    files or folders of them, `PATH?text=COLUMN` for another column, `CORPUS?snapshot=NAME` for another
    corpus. Pages that repeat one are removed."""
    overlap: OverlapConfig = OverlapConfig()
    """What counts as overlap with a test set, and what becomes of it."""

    def without_effect(self) -> dict[str, str]:
        """The settings of overlap, without test sets."""
        return {} if self.testsets else {"overlap": "dedup.testsets names no test set"}

    @field_validator("against")
    @classmethod
    def _named_apart(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        sources.labels(given)
        return given

    @field_validator("testsets", "against", mode="before")
    @classmethod
    def _list_of_paths(cls, given: Any) -> Any:
        if isinstance(given, str):
            raise ValueError(f'expected a list, ["{given}"]')
        return given

    @model_validator(mode="before")
    @classmethod
    def _bands_by_threshold(cls, settings: Any) -> Any:
        """Choose unset bands and rows by the threshold."""
        if not isinstance(settings, dict):
            return settings

        threshold = settings.get("threshold", cls.model_fields["threshold"].default)
        given = settings.get("lsh", {})
        if isinstance(threshold, int | float) and 0 < threshold <= 1 and isinstance(given, dict):
            return {**settings, "lsh": {**lsh.bands_for(threshold).model_dump(), **given}}

        return settings

    def model_post_init(self, context: object) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; allowed: above 0, up to 1")
        if self.containment and not 0.5 <= self.containment <= 1:
            raise ValueError(f"containment is {self.containment}; allowed: 0 (off), 0.5 to 1")
