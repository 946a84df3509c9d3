"""A stream of training blocks that starts anywhere at once and continues exactly, on any number of ranks.

A split is one long run of tokens: the files of a snapshot in their order. Plain files are memory-mapped (their tokens
lie in one contiguous run per row group, whose offsets the snapshot lists), others are decoded a row group at a time.
Block i is the tokens [i * block_size, (i + 1) * block_size], so every token is predicted once an epoch; the order of
the blocks is a keyed permutation computed per index. The state of a stream is therefore four small facts: which
snapshot, which seed, which epoch, how many blocks of it are consumed.

numpy only beside `corpus`; no worker processes.
"""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from corpus.digests import find_file_damage
from corpus.errors import InputError, SchemaError
from corpus.layout import Store, open_corpus
from corpus.snapshot import SPLITS, Snapshot, Split, TokenFile, read_snapshot
from corpus.tables import read_file
from shards.layout import check_footer, decode_row_group
from shards.order import Permutation

DECODED_BYTES = 1 << 30
"""Row groups held decoded, for splits that cannot be mapped (compressed or remote)."""
ORDER_WINDOW = 1 << 13
"""Indices permuted at once: a call costs 0.1 ms for 8 and 2 ms for 8,192. A saving of time alone, no part of the state."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document's share of a range of tokens: positions [start, stop) of the split, end-of-text included."""

    doc_id: str
    batch: str
    start: int
    stop: int


class TokenSplit:
    """All tokens of one split of a snapshot, as one sequence."""

    def __init__(
        self,
        store: Store,
        snapshot: Snapshot,
        split: Split,
        files: Sequence[TokenFile],
        *,
        decoded_bytes: int = DECODED_BYTES,
    ) -> None:
        self.name: Split = split
        self.digest = snapshot.digest
        self.vocab_size = snapshot.vocab_size
        self.end_of_text = snapshot.end_of_text
        self.tokenizer_fingerprint = snapshot.tokenizer_fingerprint
        self.files = tuple(files)
        self.num_tokens = sum(file.num_tokens for file in files)
        self.dtype = np.dtype(
            np.uint32 if any(file.dtype == "uint32" for file in files) else np.uint16
        ).newbyteorder("<")
        self._store = store
        self._segments = _Segments(store, files, decoded_bytes)
        self._file_starts = np.cumsum([0, *(file.num_tokens for file in files)])
        self._spans: OrderedDict[int, tuple[Any, np.ndarray]] = OrderedDict()

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Tokens [start, stop). Shape (stop - start,); a view of the map where they lie together, read-only then.

        Raises: IndexError outside 0 <= start <= stop <= num_tokens.
        """
        if not 0 <= start <= stop <= self.num_tokens:
            raise IndexError(f"tokens [{start}, {stop}) of a split of {self.num_tokens}")
        pieces = list(self._segments.pieces(start, stop))
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.zeros(0, self.dtype)

    def read_blocks(self, starts: np.ndarray, length: int, out: np.ndarray | None = None) -> np.ndarray:
        """`length` tokens from each of `starts`. Shape (len(starts), length) int64, written to `out` if given."""
        blocks = np.empty((len(starts), length), np.int64) if out is None else out
        self._segments.read_blocks(starts, blocks)
        return blocks

    def documents(self, start: int, stop: int) -> list[Document]:
        """The documents that tokens [start, stop) come from, each with its share of that range."""
        found = []
        first = int(np.searchsorted(self._file_starts, start, "right")) - 1
        for index in range(first, len(self.files)):
            base = int(self._file_starts[index])
            if base >= stop:
                break
            ids, ends = self._file_spans(index)
            row = int(np.searchsorted(ends, start - base, "right"))
            while row < len(ends):
                begin = base + (int(ends[row - 1]) if row else 0)
                if begin >= stop:
                    break
                end = base + int(ends[row])
                found.append(
                    Document(ids[row].as_py(), self.files[index].batch, max(begin, start), min(end, stop))
                )
                row += 1
        return found

    def _file_spans(self, index: int) -> tuple[Any, np.ndarray]:
        """Document ids of a file and where each ends in it; the few files used last are kept."""
        if index not in self._spans:
            table = read_file(self._store, self.files[index].spans_path, ["doc_id", "start", "num_tokens"])
            table = table.combine_chunks()
            ends = table["start"].to_numpy() + table["num_tokens"].to_numpy()
            self._spans[index] = table["doc_id"], ends
            if len(self._spans) > 8:
                self._spans.popitem(last=False)
        self._spans.move_to_end(index)
        return self._spans[index]

    def verify(self) -> None:
        """Read every file and compare digests. Raises SchemaError naming the first damaged file and row group."""
        for file in self.files:
            if damage := find_file_damage(self._store, file.path, file.bytes, file.digest, file.row_groups):
                raise SchemaError(
                    f"{self._store.root}/{damage}; restore the file or build the batch again with `python -m shards.run --rebuild`"
                )


def open_split(
    corpus: str,
    snapshot: str,
    split: Split,
    *,
    batches: Sequence[str] | None = None,
    decoded_bytes: int = DECODED_BYTES,
) -> TokenSplit:
    """The split of a snapshot, checked as far as costs milliseconds: sizes and footers of all its files.

    `batches` leaves only those of the snapshot. `TokenSplit.verify` reads everything.
    Raises: InputError, SchemaError for anything missing, truncated, or made otherwise than the snapshot says.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    store = open_corpus(corpus)
    found = read_snapshot(store, snapshot)
    if unknown := set(batches or ()) - {batch.batch for batch in found.batches}:
        raise InputError(
            f"snapshot {snapshot}: no batch {sorted(unknown)}; present: {', '.join(b.batch for b in found.batches)}"
        )
    files = [file for file in found.splits[split].files if batches is None or file.batch in batches]
    for file in files:
        check_footer(store, file, found.tokenizer_fingerprint)
    return TokenSplit(store, found, split, files, decoded_bytes=decoded_bytes)


@dataclass(slots=True)
class _Segment:
    """One row group: its place in the split and how to get its tokens."""

    file: TokenFile
    row_group: int
    num_tokens: int


class _Segments:
    """Row groups of all files in order; a position is found by bisection, its tokens in a map or a bounded cache."""

    def __init__(self, store: Store, files: Sequence[TokenFile], decoded_bytes: int) -> None:
        self._store = store
        self._decoded_bytes = decoded_bytes
        self._segments = [segment for file in files for segment in _file_segments(file)]
        self._starts = np.cumsum([0, *(segment.num_tokens for segment in self._segments)])
        self._mapped: dict[int, np.ndarray] = {}
        self._decoded: OrderedDict[int, np.ndarray] = OrderedDict()
        self._decoded_size = 0
        self._map_files()

    def _map_files(self) -> None:
        """Map what is local and plain; mapping reads nothing and takes address space only."""
        maps: dict[str, mmap.mmap] = {}
        for index, segment in enumerate(self._segments):
            offset = segment.file.row_groups[segment.row_group].values_offset
            path = self._store.local_path(segment.file.path)
            if offset is None or path is None:
                continue
            if segment.file.path not in maps:
                with path.open("rb") as stream:
                    maps[segment.file.path] = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self._mapped[index] = np.frombuffer(
                maps[segment.file.path],
                np.dtype(segment.file.dtype).newbyteorder("<"),
                segment.num_tokens,
                offset,
            )

    def array(self, index: int) -> np.ndarray:
        """The tokens of segment `index`. Shape (num_tokens,)."""
        mapped = self._mapped.get(index)
        return mapped if mapped is not None else self._decode(index)

    def _decode(self, index: int) -> np.ndarray:
        if index in self._decoded:
            self._decoded.move_to_end(index)
            return self._decoded[index]
        segment = self._segments[index]
        tokens = decode_row_group(self._store, segment.file, segment.row_group)[: segment.num_tokens]
        self._decoded[index] = tokens
        self._decoded_size += tokens.nbytes
        while self._decoded_size > self._decoded_bytes and len(self._decoded) > 1:
            self._decoded_size -= self._decoded.popitem(last=False)[1].nbytes
        return tokens

    def pieces(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Tokens [start, stop) as one array per segment touched."""
        index = int(np.searchsorted(self._starts, start, "right")) - 1
        while start < stop:
            base = int(self._starts[index])
            end = min(stop, int(self._starts[index + 1]))
            yield self.array(index)[start - base : end - base]
            start = end
            index += 1

    def read_blocks(self, starts: np.ndarray, out: np.ndarray) -> None:
        """Fill row j of `out` with the tokens from starts[j]; rows are read by segment, so each is decoded once."""
        length = out.shape[1]
        found = np.searchsorted(self._starts, starts, "right") - 1
        whole = self._starts[found + 1] - starts >= length
        offsets = (starts - self._starts[found]).tolist()
        rows: Any = range(len(starts)) if len(self._mapped) == len(self._segments) else np.argsort(found)
        segments, inside = found.tolist(), whole.tolist()
        mapped = self._mapped
        for row in rows:
            if inside[row]:
                tokens = mapped.get(segments[row])
                if tokens is None:
                    tokens = self._decode(segments[row])
                begin = offsets[row]
                out[row] = tokens[begin : begin + length]
            else:
                start = int(starts[row])
                np.concatenate(list(self.pieces(start, start + length)), out=out[row])


def _file_segments(file: TokenFile) -> Iterator[_Segment]:
    left = file.num_tokens
    for number, group in enumerate(file.row_groups):
        num_tokens = min(left, group.rows * file.row_tokens)
        if num_tokens:
            yield _Segment(file, number, num_tokens)
        left -= num_tokens


class Blocks(Protocol):
    """A stream of training blocks, of one split or a mixture."""

    def next_batch(self, global_batch: int, rank: int = 0, world_size: int = 1) -> np.ndarray: ...

    def state_dict(self) -> dict[str, int | str]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class BlockStream:
    """The blocks of a split in the order of (seed, epoch), for one rank of any world.

    Sample i of the global order is the same for every world size: rank r takes the r-th share of each global batch,
    and all ranks advance alike. What `state_dict` counts is what `next_batch` has given out.
    """

    def __init__(
        self, split: TokenSplit, *, block_size: int, seed: int, epoch: int = 0, index: int = 0
    ) -> None:
        if block_size < 1:
            raise InputError(f"block_size {block_size}: expected at least 1")
        self.split = split
        self.block_size = block_size
        self.seed = seed
        self.num_blocks = (split.num_tokens - 1) // block_size
        """Blocks of an epoch; the tokens after the last whole block (fewer than block_size) rest."""
        if self.num_blocks < 1:
            raise InputError(
                f"block_size {block_size}: the {split.name} split holds {split.num_tokens:,} tokens and a block needs {block_size + 1:,}; choose a smaller block_size or a larger corpus"
            )
        self.epoch, self.index = epoch, index
        self._window = np.zeros(0, np.int64)
        self._window_key = (0, 0, -1)
        self._normalise()

    def next_batch(self, global_batch: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """This rank's share of the next `global_batch` samples. Shape (global_batch // world_size, block_size + 1) int64.

        Raises: InputError when the world does not divide the batch, or `rank` is not one of it.
        """
        share = _share(global_batch, rank, world_size)
        first = self.index + rank * share
        starts = self.block_numbers(np.arange(first, first + share)) * self.block_size
        blocks = self.split.read_blocks(starts, self.block_size + 1)
        self.index += global_batch
        self._normalise()
        return blocks

    def block_numbers(self, indices: np.ndarray) -> np.ndarray:
        """Which block each sample is. `indices` count from the start of this epoch and may run into later ones."""
        indices = np.asarray(indices, np.int64)
        if indices.size and indices[0] >= 0 and indices.max() < self.num_blocks:
            return self._order(self.epoch, indices)
        epochs, within = np.divmod(indices, self.num_blocks)
        blocks = np.empty_like(within)
        for offset in np.unique(epochs).tolist():
            here = epochs == offset
            blocks[here] = self._order(self.epoch + offset, within[here])
        return blocks

    def documents(self, index: int) -> list[Document]:
        """The documents in sample `index`, counted from the start of this epoch."""
        start = int(self.block_numbers(np.array([index]))[0]) * self.block_size
        return self.split.documents(start, start + self.block_size + 1)

    def state_dict(self) -> dict[str, int | str]:
        """What is consumed: enough to continue this order in any process of any world."""
        return {
            "snapshot": self.split.digest,
            "split": self.split.name,
            "block_size": self.block_size,
            "seed": self.seed,
            "epoch": self.epoch,
            "index": self.index,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was saved; the seed is the state's.

        Raises: InputError when it was saved over another snapshot, split or block size.
        """
        _check_state(state, self.state_dict(), ("snapshot", "split", "block_size"))
        self.seed, self.epoch, self.index = (int(state[key]) for key in ("seed", "epoch", "index"))
        self._normalise()

    def _order(self, epoch: int, indices: np.ndarray) -> np.ndarray:
        """Blocks of samples of one epoch, through the window that was computed last where they lie in it."""
        first = int(indices[0]) // ORDER_WINDOW * ORDER_WINDOW
        if int(indices.min()) < first or int(indices.max()) >= first + ORDER_WINDOW:
            return Permutation(self.num_blocks, self.seed, epoch)(indices)
        if self._window_key != (self.seed, epoch, first):
            last = min(first + ORDER_WINDOW, self.num_blocks)
            self._window = Permutation(self.num_blocks, self.seed, epoch)(np.arange(first, last))
            self._window_key = (self.seed, epoch, first)
        return self._window[indices - first]

    def _normalise(self) -> None:
        further, self.index = divmod(self.index, self.num_blocks)
        self.epoch += further


class MixtureStream:
    """Blocks of several splits in fixed proportions, by a rule that needs no memory.

    Samples come in periods of `PERIOD`: in each, source s fills as many places as its weight earns (rounded by
    largest remainder), in an order keyed by the number of the period. So sample i of the global order is a function
    of (seed, i) here too, and every source's own blocks come in its own epochs' orders.
    """

    PERIOD = 1 << 12
    """Samples in which the proportions are exact; a weight is a multiple of 1/4096."""

    def __init__(
        self,
        splits: Sequence[TokenSplit],
        weights: Sequence[float],
        *,
        block_size: int,
        seed: int,
        index: int = 0,
    ) -> None:
        self._streams = [BlockStream(split, block_size=block_size, seed=seed) for split in splits]
        self._places = _apportion(weights, self.PERIOD, len(splits))
        self._bounds = np.cumsum([0, *self._places])
        self.block_size, self.seed, self.index = block_size, seed, index

    @cached_property
    def digest(self) -> str:
        """Of all that the order depends on beside seed and index."""
        from corpus.manifest import fingerprint

        sources = [
            [stream.split.digest, [file.content for file in stream.split.files]] for stream in self._streams
        ]
        return fingerprint(sources, self._places)

    def next_batch(self, global_batch: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """As `BlockStream.next_batch`."""
        share = _share(global_batch, rank, world_size)
        first = self.index + rank * share
        sources, positions = self.sources(np.arange(first, first + share))
        blocks = np.empty((share, self.block_size + 1), np.int64)
        for number, stream in enumerate(self._streams):
            here = np.flatnonzero(sources == number)
            if here.size:
                starts = stream.block_numbers(positions[here]) * self.block_size
                blocks[here] = stream.split.read_blocks(starts, self.block_size + 1)
        self.index += global_batch
        return blocks

    def sources(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which split each sample is of, and which sample of that split it is. Shapes (k,), (k,) int64."""
        periods, within = np.divmod(np.asarray(indices, np.int64), self.PERIOD)
        places = np.empty_like(within)
        for period in np.unique(periods).tolist():
            here = periods == period
            places[here] = Permutation(self.PERIOD, self.seed, period, 1)(within[here])
        sources = np.searchsorted(self._bounds, places, "right") - 1
        counts = np.asarray(self._places, np.int64)
        return sources, periods * counts[sources] + places - self._bounds[sources]

    def state_dict(self) -> dict[str, int | str]:
        """As `BlockStream.state_dict`."""
        return {
            "mixture": self.digest,
            "block_size": self.block_size,
            "seed": self.seed,
            "index": self.index,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `BlockStream.load_state_dict`."""
        _check_state(state, self.state_dict(), ("mixture", "block_size"))
        self.seed, self.index = int(state["seed"]), int(state["index"])
        for stream in self._streams:
            stream.seed = self.seed


def sequential_blocks(split: TokenSplit, block_size: int) -> Iterator[np.ndarray]:
    """Every token of the split predicted exactly once, in order: for validation.

    Yields (n,) int64 with 2 <= n <= block_size + 1; block i begins with the token that block i - 1 ended with.
    """
    for start in range(0, split.num_tokens - 1, block_size):
        yield split.slice(start, min(start + block_size + 1, split.num_tokens)).astype(np.int64)


def document_numbers(blocks: np.ndarray, end_of_text: int) -> np.ndarray:
    """Which document of its row each token belongs to, for masks. Shapes (n, T) to (n, T) int32, counting from 0.

    An end-of-text belongs to the document that it ends. Text is never read as end-of-text, so the marks are exact.
    """
    ends = blocks == end_of_text
    numbers = np.zeros(blocks.shape, np.int32)
    np.cumsum(ends[:, :-1], axis=1, out=numbers[:, 1:])
    return numbers


def _share(global_batch: int, rank: int, world_size: int) -> int:
    if global_batch < 1 or global_batch % world_size:
        raise InputError(
            f"global batch {global_batch}: {world_size} ranks do not divide it; choose a multiple, so that every world size gives the same order"
        )
    if not 0 <= rank < world_size:
        raise InputError(f"rank {rank}: expected 0..{world_size - 1}")
    return global_batch // world_size


def _check_state(state: dict[str, Any], ours: dict[str, int | str], keys: Sequence[str]) -> None:
    if state.keys() != ours.keys():
        raise InputError(f"stream state with {sorted(state)}; expected {sorted(ours)}")
    for key in keys:
        if state[key] != ours[key]:
            raise InputError(
                f"stream state of {key} {state[key]!r}, this stream has {ours[key]!r}: continuing would repeat or skip data; open what the run was started with"
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
        raise InputError(f"mixture weights {list(weights)}: the smallest is below 1/{places} of their sum")
    result: list[int] = whole.tolist()
    return result
