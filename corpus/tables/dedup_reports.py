"""The reports that `dedup.run` writes for each batch, as those who show them read them.

Both are part of a corpus and may come from a stranger, so their shape is checked before use.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, FiniteFloat, NonNegativeInt, ValidationError

from corpus.errors import SchemaError
from corpus.storage.store import Store

R = TypeVar("R", bound=BaseModel)


class Group(BaseModel):
    """A page that stayed, and the number of its copies that went."""

    survivor: str
    url: str | None
    removed: NonNegativeInt


class DomainLoss(BaseModel):
    """Documents of a registered domain, and those that were removed."""

    domain: str
    pages: NonNegativeInt
    removed: NonNegativeInt
    removed_frac: FiniteFloat


class SourceLoss(BaseModel):
    """Pages removed since a collection outside the corpus has them."""

    source: str
    removed: NonNegativeInt


class DuplicatesReport(BaseModel):
    """The parsed `reports/dedup-<batch>.json`."""

    removed_frac: FiniteFloat
    similarity_histogram: dict[str, NonNegativeInt]
    largest_groups: list[Group]
    domains: list[DomainLoss]
    elsewhere: list[SourceLoss] = []
    """Empty in reports of versions without `dedup.against`."""


class OverlapRow(BaseModel):
    """The shares of a test set's n-grams that the corpus contains."""

    testset: str
    n: int
    ngrams: NonNegativeInt
    share: FiniteFloat | None
    share_so_far: FiniteFloat | None
    share_of_own_train: FiniteFloat | None
    share_left: FiniteFloat | None = None
    """None in reports of versions that did not count it."""
    share_left_so_far: FiniteFloat | None = None
    gpt2: dict[str, FiniteFloat | None] | None
    """The columns of Radford et al. 2019, table 6, for sets that it has."""


class WorstEntry(BaseModel):
    """An entry of which most words were found."""

    testset: str
    entry: int
    text: str
    words: NonNegativeInt
    words_found: NonNegativeInt


class WorstPage(BaseModel):
    """A page with much of a test set."""

    url: str | None
    passage: str
    overlap_ngrams: NonNegativeInt


class FoundEntries(BaseModel):
    """The number of a set's entries, and the numbers of those that overlap."""

    entries: NonNegativeInt
    overlapping: list[int]


class OverlapReport(BaseModel):
    """The parsed `reports/overlap-<batch>.json`."""

    table: list[OverlapRow]
    worst_entries: list[WorstEntry]
    worst_pages: list[WorstPage]
    entries: dict[str, FoundEntries] = {}
    entries_left: dict[str, list[int]] = {}


def duplicates_path(batch: str) -> str:
    """The place of the report on near-duplicates."""
    return f"reports/dedup-{batch}.json"


def overlap_path(batch: str) -> str:
    """The place of the report on test-set overlap."""
    return f"reports/overlap-{batch}.json"


def read_duplicates(store: Store, batch: str) -> DuplicatesReport | None:
    """The report on near-duplicates of a batch; None without one. Raises: SchemaError."""
    return _read(store, duplicates_path(batch), DuplicatesReport)


def read_overlap(store: Store, batch: str) -> OverlapReport | None:
    """The report on test-set overlap of a batch; None without one. Raises: SchemaError."""
    return _read(store, overlap_path(batch), OverlapReport)


def _read(store: Store, path: str, kind: type[R]) -> R | None:
    try:
        found = store.read_object(path)
    except FileNotFoundError:
        return None

    try:
        return kind.model_validate(found)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise SchemaError(
            f"{store.root}/{path}: not a report of this version ({field}: {problem['msg']}); "
            "remove it, or run `webtext dedup` on the batch again"
        ) from error
