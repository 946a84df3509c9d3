"""Sources of a mixture: documents chosen by batch, domain and columns of `documents`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from xxhash import xxh3_128

from corpus.bulk import read_many
from corpus.config import Section
from corpus.snapshots.snapshot import TokenFile
from corpus.storage.store import Store
from shards.stream.columns import DUPLICATES, numbers, read_columns, removed_counts
from shards.stream.selection import Selection, select
from shards.stream.tokens import TokenSplit, read_spans

# Name for the domains not named by any source.
OTHERS = "*"


class Source(Section):
    """One source of a mixture."""

    def describe(self) -> str:
        """The batches, domains and bounds it names, for messages."""
        named = [
            f"{name} {', '.join(getattr(self, name))}"
            for name in ("batches", "domains")
            if getattr(self, name)
        ]
        named += [f"{column} at least {bound:g}" for column, bound in self.at_least.items()]
        named += [f"{column} below {bound:g}" for column, bound in self.below.items()]
        return "; ".join(named) or "all of it"

    @property
    def columns(self) -> set[str]:
        """The columns with a bound."""
        return {*self.at_least, *self.below}

    @property
    def is_whole(self) -> bool:
        """True if it takes every document of its batches."""
        return not (self.domains or self.columns)

    weight: float = Field(gt=0)
    """Its share of the samples, relative to the other sources' weights."""
    batches: list[str] = []
    """Batches of the snapshot that it takes; none named: all."""
    domains: list[str] = []
    """Registered domains whose documents it takes, `*` for those that no source names.

    None named: all.
    """
    at_least: dict[str, float] = {}
    """Lowest values of its documents by column of `documents`, or of `duplicates`.

    A document without a value is left out.
    """
    below: dict[str, float] = {}
    """Values by column that those of its documents are below."""


class FileFacts(NamedTuple):
    """Values of the documents of a token file, to choose them by."""

    ends: np.ndarray
    """Where each document ends in the file, (n,) int64."""
    domains: pa.DictionaryArray
    numbers: dict[str, np.ndarray]
    """By column, (n,) float64 each."""


# By path of a token file.
Facts = Mapping[str, FileFacts]


def read_facts(
    store: Store,
    files: Iterable[TokenFile],
    columns: Collection[str],
    others: Iterable[TokenFile] = (),
) -> Facts:
    """Read domains and columns of the documents of token files, each file once.

    `others` are in use as well: duplicates found in their batches count. Raises: InputError for a document without a known origin.
    """
    wanted = list({file.path: file for file in files}.values())
    removed = removed_counts(store, [*wanted, *others]) if DUPLICATES in columns else None

    def read(file: TokenFile) -> FileFacts:
        doc_ids, ends = read_spans(store, file)
        found = read_columns(store, file, doc_ids, ["domain", *columns], removed)
        bounded = {column: numbers(found[column]) for column in columns}
        return FileFacts(ends, found["domain"].dictionary_encode(), bounded)

    facts = read_many(store, wanted, read)
    return {file.path: found for file, found in zip(wanted, facts, strict=True)}


def selection(source: Source, whole: TokenSplit, named: set[str], facts: Facts) -> Selection:
    """The documents of a source that does not take all."""
    domains, others = _choice(source, named)
    masks = [chosen(source, named, facts[file.path]) for file in whole.files]
    label = f"{sorted(domains)} not {None if others is None else sorted(others)}"
    if source.columns:
        # Values of a column may differ with later batches, so the choice itself is in the label.
        hashed = xxh3_128()
        for mask in masks:
            hashed.update(np.packbits(mask).tobytes())
        label += f" {source.describe()} {hashed.hexdigest()}"

    ends = [facts[file.path].ends for file in whole.files]
    return select(whole, zip(masks, ends, strict=True), label)


def chosen(source: Source, named: set[str], facts: FileFacts) -> np.ndarray:
    """True for the documents that a source takes. Shape (n,) bool.

    `named` are the domains of all sources: `*` stands for the others.
    """
    taken = np.ones(len(facts.ends), bool)
    if source.domains:
        domains, others = _choice(source, named)
        by_domain = pc.is_in(facts.domains.dictionary, pa.array(sorted(domains), pa.string()))
        if others is not None:
            excluded = pc.is_in(facts.domains.dictionary, pa.array(sorted(others), pa.string()))
            by_domain = pc.or_(by_domain, pc.invert(excluded))
        taken = np.asarray(by_domain, bool)[facts.domains.indices.to_numpy()]

    # A comparison with NaN, the value of a document without one, is false.
    for column, bound in source.at_least.items():
        taken &= facts.numbers[column] >= bound
    for column, bound in source.below.items():
        taken &= facts.numbers[column] < bound
    return taken


def _choice(source: Source, named: set[str]) -> tuple[set[str], set[str] | None]:
    """The domains taken by a source, and those excluded if it takes all others."""
    if not source.domains:
        return set(), set()
    others = named if OTHERS in source.domains else None
    return set(source.domains) - {OTHERS}, others
