"""Row groups of all files in order: bisection finds a position, a map or a buffer its tokens.

A plain local row group is mapped in place. Any other is read as one range, compared with its
digest, decoded, and kept: on disk in a `TokenCache` (mapped from there), or else in memory. A few
threads can prefetch the next row groups. Maps are opened at first use, and closed oldest first when
they take too many of the process's file descriptors, one each; a mixture's sources share them.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from corpus.errors import FatalError, SchemaError
from corpus.snapshots.snapshot import TokenFile
from corpus.storage.store import Store
from corpus.tables.generations import find_file
from corpus.tables.record import RowGroup
from shards.stream.cache import TokenCache
from shards.stream.file_layout import check_footer, patiently, read_row_group

# Seconds between two checks of the files under open maps: 3,000 files take 3 ms.
WATCH_S = 1.0
# Threads for fetching ahead: they wait for the network, and the Parquet library decodes outside the
# interpreter's lock.
FETCHERS = 4


@dataclass(frozen=True, slots=True)
class Segment:
    """One row group: its number, and its tokens without the padding of a file's last row."""

    file: TokenFile
    row_group: int
    num_tokens: int

    @property
    def group(self) -> RowGroup:
        """The snapshot's record of it."""
        return self.file.row_groups[self.row_group]

    @property
    def dtype(self) -> np.dtype:
        """Little-endian, as stored."""
        return np.dtype(self.file.dtype).newbyteorder("<")


class Maps:
    """Open maps by name, for one reader or several opened together.

    Those opened longest ago close first.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int, int]] = {}
        self._watched = 0.0
        self.most = max(2, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._open: OrderedDict[
            str, tuple[mmap.mmap | None, list[tuple[dict[int, np.ndarray], int]]]
        ] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def remember(self, path: str, status: os.stat_result) -> None:
        """Note size, time and inode of a checked file, to notice later changes."""
        self._known[path] = _identity(status)

    def open(self, path: Path, file: TokenFile) -> mmap.mmap:
        """Map a file.

        Raises: FatalError for a missing file; SchemaError for a file changed since its check.
        """
        try:
            with path.open("rb") as stream:
                found = _identity(os.fstat(stream.fileno()))
                known = self._known.setdefault(str(path), found)
                if found != known or found[0] != file.bytes:
                    raise _changed(str(path), found, known)
                return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise FatalError(
                f"{path} is gone; restore the file, or use another snapshot"
            ) from error

    def watch(self) -> None:
        """Once a second, compare the files under open maps: a read of a shrunk one dies of SIGBUS.

        Raises: SchemaError naming the file.
        """
        now = time.monotonic()
        if now - self._watched < WATCH_S:
            return
        self._watched = now
        for path, known in self._known.items():
            with contextlib.suppress(FileNotFoundError):  # a deleted file stays readable
                found = _identity(os.stat(path))
                # Another inode is another file: the mapped one stays as it was.
                if found[2] == known[2] and found != known:
                    raise _changed(path, found, known)

    def find(self, name: str) -> mmap.mmap | None:
        """The map of a file, where it is open."""
        return self._open[name][0] if name in self._open else None

    def hold(
        self, name: str, data: mmap.mmap | None, mapped: dict[int, np.ndarray], index: int
    ) -> None:
        """Keep a map until too many others come: then `mapped` loses its entry, `index` now."""
        self._open.setdefault(name, (data, []))[1].append((mapped, index))
        while len(self._open) > self.most:
            self.close(next(iter(self._open)))

    def close(self, name: str) -> None:
        """Release a map."""
        for mapped, index in self._open.pop(name)[1]:
            del mapped[index]


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _changed(path: str, found: tuple[int, int, int], known: tuple[int, int, int]) -> SchemaError:
    return SchemaError(
        f"{path}: the file changed while it was in use ({found[0]:,} bytes, before {known[0]:,}); "
        "restore it, then run the same command again to continue"
    )


@dataclass(frozen=True, slots=True)
class _PieceList:
    """Pieces of text looked up once, for many reads: lists, since one item of an array costs more."""

    segments: list[int]
    offsets: list[int]
    starts: list[int]
    lengths: list[int]
    targets: list[int]
    """Place of each piece in the rows end to end."""


# Writes pieces [first, stop) to a flat array, which begins at a place `base` of the rows end to end.
PieceReader = Callable[[int, int, int, np.ndarray], None]


class Segments:
    """The tokens of `files` as one sequence. Not for several threads at once."""

    def __init__(
        self,
        store: Store,
        files: Sequence[TokenFile],
        tokenizer_fingerprint: str,
        *,
        cache: TokenCache | None,
        decoded_bytes: int,
        ahead: int,
        maps: Maps,
    ) -> None:
        self._store = store
        self._tokenizer_fingerprint = tokenizer_fingerprint
        self._footers: dict[str, Any] = {}

        self._cache = cache
        self._cache_version = 0
        self._decoded_bytes = decoded_bytes
        self._segments = [segment for file in files for segment in _file_segments(file)]
        self._starts = np.cumsum([0, *(segment.num_tokens for segment in self._segments)])
        self._all_in_place = all(self._in_place(segment) for segment in self._segments)
        # Row groups fetched ahead at most; 0: none, and `prefetch` need not be called.
        self.ahead = 0 if self._all_in_place else ahead

        self._mapped: dict[int, np.ndarray] = {}
        self._maps = maps
        self._decoded: OrderedDict[int, np.ndarray] = OrderedDict()
        self._decoded_size = 0
        # Row groups neither mapped nor in memory at their use.
        self.misses = 0
        self._pool: ThreadPoolExecutor | None = None
        self._fetching: dict[int, Future[tuple[np.ndarray, bool]]] = {}

    def array(self, index: int) -> np.ndarray:
        """The tokens of segment `index`.

        Shape (num_tokens,). Raises SchemaError for damaged ones.
        """
        mapped = self._mapped.get(index)
        if mapped is not None:
            return mapped
        if self._in_place(self._segments[index]):
            return self._map(index)
        if index in self._decoded:
            self._decoded.move_to_end(index)
            return self._decoded[index]

        self.misses += 1
        running = self._fetching.pop(index, None)
        tokens, is_map = self._fetch(index) if running is None else running.result()
        self._let_go()

        if is_map:
            self._mapped[index] = tokens
            self._maps.hold(self._cached_name(index), None, self._mapped, index)
        else:
            self._keep(index, tokens)

        return tokens

    def prefetch(self, starts: np.ndarray, length: int) -> None:
        """Begin to fetch the first few row groups of `length` tokens from each of `starts`.

        The order is that of `starts`.
        """
        touched = np.stack([self._find(starts), self._find(starts + length - 1)], axis=1)
        wanted = []
        for index in dict.fromkeys(touched.ravel().tolist()):
            here = (
                index in self._mapped
                or index in self._decoded
                or self._in_place(self._segments[index])
            )
            if not here:
                wanted.append(index)
                if len(wanted) == self.ahead:
                    break

        for index in self._fetching.keys() - set(wanted):
            self._fetching.pop(index).cancel()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(FETCHERS, "fetch-tokens")
        for index in wanted:
            if index not in self._fetching:
                self._fetching[index] = self._pool.submit(self._fetch, index)

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
        """Fill row j of `out` with the tokens from starts[j].

        Rows are read by segment, so each is decoded once.
        """
        self._maps.watch()
        length = out.shape[1]
        found = self._find(starts)
        offsets = (starts - self._starts[found]).tolist()
        rows: Any = (
            range(len(starts)) if self._all_in_place else np.argsort(found, kind="stable").tolist()
        )
        segments = found.tolist()
        mapped = self._mapped

        for row in rows:
            tokens = mapped.get(segments[row])
            if tokens is None:
                tokens = self.array(segments[row])
            block = tokens[offsets[row] : offsets[row] + length]
            if len(block) == length:
                out[row] = block
            else:
                start = int(starts[row])
                np.concatenate(list(self.pieces(start, start + length)), out=out[row])

    def read_pieces(
        self,
        starts: np.ndarray,
        lengths: np.ndarray,
        rows: np.ndarray,
        places: np.ndarray,
        out: np.ndarray,
    ) -> None:
        """Write `lengths` tokens from each of `starts` to `out[row, place:]`, by segment.

        Shapes (n,) each, (B, T).
        """
        self._maps.watch()
        found = self._find(starts)
        order: Any = (
            range(len(starts)) if self._all_in_place else np.argsort(found, kind="stable").tolist()
        )
        segments, offsets = found.tolist(), (starts - self._starts[found]).tolist()
        sizes = lengths.tolist()
        # Slices of one dimension cost a third less, and the pieces are short.
        flat = out.reshape(-1) if out.flags.c_contiguous else None
        targets = (rows * out.shape[1] + places).tolist()
        mapped = self._mapped

        for piece in order:
            tokens = mapped.get(segments[piece])
            if tokens is None:
                tokens = self.array(segments[piece])
            size, offset, target = sizes[piece], offsets[piece], targets[piece]
            block = tokens[offset : offset + size]
            if len(block) != size:
                start = int(starts[piece])
                block = np.concatenate(list(self.pieces(start, start + size)))
            if flat is None:
                row, place = divmod(target, out.shape[1])
                out[row, place : place + size] = block
            else:
                flat[target : target + size] = block

    def piece_reader(
        self, starts: np.ndarray, lengths: np.ndarray, targets: np.ndarray
    ) -> PieceReader | None:
        """Look up pieces once, to be read in many parts; None if not all row groups are mapped in place.

        `targets` are places in the rows end to end. Shapes (n,) each.
        """
        if not self._all_in_place:
            return None

        found = self._find(starts)
        offsets = starts - self._starts[found]
        listed = (each.tolist() for each in (found, offsets, starts, lengths, targets))
        return partial(self._read_listed, _PieceList(*listed))

    def _read_listed(
        self, pieces: _PieceList, first: int, stop: int, base: int, out: np.ndarray
    ) -> None:
        self._maps.watch()
        mapped = self._mapped
        segments, offsets = pieces.segments, pieces.offsets
        lengths, targets = pieces.lengths, pieces.targets

        for piece in range(first, stop):
            tokens = mapped.get(segments[piece])
            if tokens is None:
                tokens = self.array(segments[piece])
            size, offset, target = lengths[piece], offsets[piece], targets[piece] - base
            block = tokens[offset : offset + size]
            if len(block) != size:
                start = pieces.starts[piece]
                block = np.concatenate(list(self.pieces(start, start + size)))
            out[target : target + size] = block

    def _find(self, positions: np.ndarray) -> np.ndarray:
        """The segment of each position. Shapes (n,) to (n,)."""
        return self._starts[1:].searchsorted(positions, "right")

    def _in_place(self, segment: Segment) -> bool:
        return self._store.is_local and segment.group.values_offset is not None

    def _map(self, index: int) -> np.ndarray:
        """A plain local row group, in a map of its file shared with its neighbours.

        Raises FatalError for a missing file.
        """
        segment = self._segments[index]
        path = self._store.local_path(find_file(self._store, segment.file.path))
        assert path is not None
        assert segment.group.values_offset is not None
        data = self._maps.find(segment.file.path)

        if data is None:
            data = self._maps.open(path, segment.file)
        tokens = np.frombuffer(data, segment.dtype, segment.num_tokens, segment.group.values_offset)
        self._mapped[index] = tokens
        self._maps.hold(segment.file.path, data, self._mapped, index)

        return tokens

    def _let_go(self) -> None:
        """Close the maps of evicted files: until then these take space on the cache's disk."""
        if self._cache is None or self._cache.version() == self._cache_version:
            return

        self._cache_version = self._cache.version()
        present = self._cache.keys()
        for index in list(self._mapped):
            segment = self._segments[index]
            if not self._in_place(segment) and segment.group.digest not in present:
                self._maps.close(self._cached_name(index))

    def _cached_name(self, index: int) -> str:
        return f"{id(self)}#{index}"

    def _fetch(self, index: int) -> tuple[np.ndarray, bool]:
        """The tokens of a row group not mapped in place, and a flag: true if they are a map.

        The threads call it too.
        """
        segment = self._segments[index]
        key, cache = segment.group.digest, self._cache
        if (
            cache is not None
            and (found := cache.get(key, segment.dtype, segment.num_tokens)) is not None
        ):
            return found, True
        tokens = read_row_group(
            self._store, segment.file, segment.row_group, lambda: self._footer(segment.file)
        )[: segment.num_tokens]
        if cache is not None and (found := cache.put(key, tokens)) is not None:
            return found, True

        return tokens, False

    def _footer(self, file: TokenFile) -> Any:
        if file.path not in self._footers:
            self._footers[file.path] = patiently(
                self._store,
                lambda: check_footer(self._store, file, self._tokenizer_fingerprint),
                f"{self._store.root}/{file.path}",
            )
        return self._footers[file.path]

    def _keep(self, index: int, tokens: np.ndarray) -> None:
        """Keep decoded tokens in memory; those used longest ago go when there are too many."""
        self._decoded[index] = tokens
        self._decoded_size += tokens.nbytes
        while self._decoded_size > self._decoded_bytes and len(self._decoded) > 1:
            self._decoded_size -= self._decoded.popitem(last=False)[1].nbytes


def _file_segments(file: TokenFile) -> Iterator[Segment]:
    left = file.num_tokens
    for number, group in enumerate(file.row_groups):
        num_tokens = min(left, group.rows * file.row_tokens)
        if num_tokens:
            yield Segment(file, number, num_tokens)
        left -= num_tokens
