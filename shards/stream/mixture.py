"""Several sources in fixed proportions: batches of a snapshot, or documents by domain and column.

The source of a sample, and its number there, are computed from its index alone; so a mixture
resumes exactly, on any number of ranks, like a single split.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np

from corpus.errors import InputError
from corpus.snapshots.snapshot import Split
from corpus.tables.manifest import fingerprint
from shards.stream.blocks import BlockStream, check_state
from shards.stream.cache import TokenCache
from shards.stream.columns import check_column
from shards.stream.epochs import (
    of_window,
    row_groups_together,
    share_of,
    together_of,
    with_together,
)
from shards.stream.order import Permutation
from shards.stream.packing import PackedStream
from shards.stream.sources import OTHERS, Facts, Source, chosen, read_facts, selection
from shards.stream.token_source import Tokens
from shards.stream.tokens import AHEAD, Document, TokenSplit, open_splits

log = logging.getLogger(__name__)

Packing = Literal["stream", "documents"]


class MixtureStream:
    """Blocks of several splits in fixed proportions, by a rule without state.

    Samples come in periods of `PERIOD`: in each, source s fills as many places as its weight earns
    (rounded by largest remainder), in an order keyed by the number of the period. So sample i of
    the global order is a function of (seed, i) here too, and every source's own blocks come in its
    own epochs' orders.
    """

    PERIOD = 1 << 12
    """Samples in which the proportions are exact; a weight is a multiple of 1/4096."""

    def __init__(
        self,
        splits: Sequence[Tokens],
        weights: Sequence[float],
        *,
        block_size: int,
        seed: int,
        index: int = 0,
        window: int = 0,
        packing: Packing = "stream",
    ) -> None:
        make: Any = PackedStream if packing == "documents" else BlockStream
        self._streams: list[BlockStream | PackedStream] = [
            make(split, block_size=block_size, seed=seed, window=window) for split in splits
        ]
        self.packing = packing
        self._places = _apportion(weights, self.PERIOD, len(splits))
        self._bounds = np.cumsum([0, *self._places])
        self.block_size, self.seed, self.index, self.window = block_size, seed, index, window
        self.together = row_groups_together(window)
        # Blocks of all sources together: how many samples pass for an epoch.
        self.num_blocks = sum(stream.num_blocks for stream in self._streams)

    def passes(self, num_samples: int) -> list[float]:
        """Passes over each source within the first `num_samples` samples."""
        return [
            num_samples * places / self.PERIOD / stream.num_blocks
            for places, stream in zip(self._places, self._streams, strict=True)
        ]

    def shares(self) -> list[float]:
        """Each source's share of the samples. They add up to 1."""
        return [places / self.PERIOD for places in self._places]

    def source_tokens(self) -> list[int]:
        """Tokens of each source, those of several sources counted in each."""
        return [stream.split.num_tokens for stream in self._streams]

    @cached_property
    def digest(self) -> str:
        """Digest of everything the order depends on besides seed and index."""
        packed = ["documents"] if self.packing == "documents" else []
        digests = [stream.split.digest for stream in self._streams]
        return fingerprint(digests, self._places, *packed)

    def next_batch(self, global_batch: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """As `BlockStream.next_batch`."""
        share = share_of(global_batch, rank, world_size)
        first = self.index + rank * share
        sources, positions = self.sources(np.arange(first, first + share))
        blocks = np.empty((share, self.block_size + 1), np.int64)

        for number, stream in enumerate(self._streams):
            here = np.flatnonzero(sources == number)
            if here.size:
                blocks[here] = stream.rows(positions[here])
                stream.prefetch(int(positions[here[-1]]) + 1)

        self.advance(global_batch)
        return blocks

    def advance(self, num_samples: int) -> None:
        """As `BlockStream.advance`."""
        self.index += num_samples

    def sources(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The split of each sample, and its number there.

        Shapes (k,), (k,) int64.
        """
        periods, within = np.divmod(np.asarray(indices, np.int64), self.PERIOD)
        places = np.empty_like(within)
        for period in np.unique(periods).tolist():
            here = periods == period
            places[here] = Permutation(self.PERIOD, self.seed, period, 1)(within[here])

        sources = np.searchsorted(self._bounds, places, "right") - 1
        counts = np.asarray(self._places, np.int64)
        return sources, periods * counts[sources] + places - self._bounds[sources]

    def documents(self, index: int) -> list[Document]:
        """The documents in sample `index` of the global order."""
        source, position = self.sources(np.array([index]))
        return self._streams[int(source[0])].documents(int(position[0]))

    def state_dict(self) -> dict[str, int | str]:
        """As `BlockStream.state_dict`."""
        return {
            "mixture": self.digest,
            "block_size": self.block_size,
            "seed": self.seed,
            "index": self.index,
            **of_window(self.window, self.together),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `BlockStream.load_state_dict`."""
        check_state(state, self.state_dict(), ("mixture", "block_size", "window"))
        self.seed, self.index, self.together = state["seed"], state["index"], together_of(state)
        for stream in self._streams:
            begun = {**stream.state_dict(), "seed": self.seed, "epoch": 0, "index": 0}
            stream.load_state_dict(with_together(begun, self.together))


def open_mixture(
    corpus: str,
    snapshot: str,
    split: Split,
    sources: Sequence[Source],
    *,
    block_size: int,
    seed: int,
    window: int = 0,
    packing: Packing = "stream",
    cache: TokenCache | None = None,
    ahead: int = AHEAD,
) -> MixtureStream:
    """The mixture of `sources` over a split of a snapshot.

    Warns of sources with shared documents: these count in each of them. Raises: InputError for no
    source, a source without a block, unknown batches or domains; SchemaError as `open_split`.
    """
    if not sources:
        raise InputError("mixture without a source; name at least one with a weight")

    named = {domain for source in sources for domain in source.domains} - {OTHERS}
    splits = open_splits(
        corpus,
        snapshot,
        split,
        [source.batches or None for source in sources],
        cache=cache,
        ahead=ahead,
    )
    columns = sorted({column for source in sources for column in source.columns})
    for column in columns:
        check_column(column, "source of the mixture: column")

    partial = [whole for source, whole in zip(sources, splits, strict=True) if not source.is_whole]
    facts = read_facts(
        splits[0].store,
        (file for whole in partial for file in whole.files),
        columns,
        (file for whole in splits for file in whole.files),
    )
    for number, (source, whole) in enumerate(zip(sources, splits, strict=True), 1):
        _check_domains(number, source, whole, facts)

    opened: list[Tokens] = [
        whole if source.is_whole else selection(source, whole, named, facts)
        for source, whole in zip(sources, splits, strict=True)
    ]

    for number, (source, tokens) in enumerate(zip(sources, opened, strict=True), 1):
        if tokens.num_tokens <= block_size:
            raise InputError(
                f"source {number} of the mixture ({source.describe()}) holds "
                f"{tokens.num_tokens:,} tokens of the {split} split "
                f"and a block needs {block_size + 1:,}; name more in it, leave it out, or choose "
                "a smaller block_size"
            )

    _warn_of_overlaps(sources, splits, named, facts)
    weights = [source.weight for source in sources]
    return MixtureStream(
        opened, weights, block_size=block_size, seed=seed, window=window, packing=packing
    )


def _check_domains(number: int, source: Source, whole: TokenSplit, facts: Facts) -> None:
    """Refuse domains without a document in any batch of the source: a typo would go unnoticed."""
    wanted = set(source.domains) - {OTHERS}
    if not wanted:
        return

    present = {
        domain for file in whole.files for domain in facts[file.path].domains.dictionary.to_pylist()
    }
    if unknown := sorted(wanted - present):
        alike = sorted(present & {domain.lower().removeprefix("www.") for domain in unknown})
        hint = f"; did you mean {', '.join(alike)}?" if alike else ""
        raise InputError(
            f"source {number} of the mixture: no document from {', '.join(unknown)} in its "
            f"batches (expected registered domains, as `documents` has them){hint}"
        )


def _warn_of_overlaps(
    sources: Sequence[Source], splits: Sequence[TokenSplit], named: set[str], facts: Facts
) -> None:
    shared: Counter[tuple[int, int]] = Counter()
    paths = [{file.path for file in whole.files} for whole in splits]
    for path, file in {file.path: file for whole in splits for file in whole.files}.items():
        here = [number for number, its_paths in enumerate(paths) if path in its_paths]
        pairs = list(combinations(here, 2))
        if not pairs:
            continue
        if path not in facts:  # all of them are whole
            shared.update(dict.fromkeys(pairs, file.num_tokens))
            continue

        lengths = np.diff(facts[path].ends, prepend=0)
        masks = {number: chosen(sources[number], named, facts[path]) for number in here}
        shared.update({(a, b): int(lengths[masks[a] & masks[b]].sum()) for a, b in pairs})

    for (first, second), num_tokens in sorted(shared.items()):
        if num_tokens:
            log.warning(
                "sources %d and %d of the mixture share %s tokens, which are counted in both",
                first + 1,
                second + 1,
                f"{num_tokens:,}",
            )


def _apportion(weights: Sequence[float], places: int, num_sources: int) -> list[int]:
    """Whole places per weight, adding up to `places`: largest remainders, ties to the first."""
    shares = np.asarray(weights, np.float64)
    if shares.shape != (num_sources,) or not np.all(np.isfinite(shares)) or not np.all(shares > 0):
        raise InputError(f"mixture weights {list(weights)}: expected {num_sources} numbers above 0")

    exact = shares / shares.sum() * places
    whole = np.floor(exact).astype(np.int64)
    order = np.argsort(whole - exact, kind="stable")
    whole[order[: places - int(whole.sum())]] += 1
    if not whole.all():
        raise InputError(
            f"mixture weights {list(weights)}: the smallest is below 1/{places} of their sum"
        )

    result: list[int] = whole.tolist()
    return result
