"""All tokens of one split of a snapshot, as one sequence: the files of the snapshot in their order.

On a local disk, opening one compares size and footer of each file with the snapshot. On an object
store it takes the snapshot alone, since every row group is compared with its digest when it is
fetched.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corpus.bulk import read_many, without_collection
from corpus.errors import InputError, SchemaError
from corpus.snapshots.snapshot import SPLITS, Snapshot, Split, TokenFile, read_snapshot
from corpus.storage.store import Store, open_corpus
from corpus.tables.checksums import find_file_damage
from corpus.tables.manifest import fingerprint, mend
from corpus.tables.parquet import read_file
from shards.stream.cache import TokenCache, bytes_for_window
from shards.stream.file_layout import patiently
from shards.stream.local_files import check_local_files
from shards.stream.row_groups import Maps, PieceReader, Segments

# Row groups held decoded in memory, for compressed files without a cache.
DECODED_BYTES = 1 << 30
# Row groups fetched ahead: 64 MiB of uint16 at the default size.
AHEAD = 8


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
        cache: TokenCache | None = None,
        decoded_bytes: int = DECODED_BYTES,
        ahead: int = AHEAD,
        maps: Maps,
    ) -> None:
        self.name: Split = split
        whole = len(files) == len(snapshot.splits[split].files)
        # The digest of the files read: the snapshot's, or another one for only some of its batches.
        self.digest = snapshot.digest if whole else fingerprint([file.content for file in files])

        self.vocab_size = snapshot.vocab_size
        self.end_of_text = snapshot.end_of_text
        self.tokenizer_fingerprint = snapshot.tokenizer_fingerprint
        self.files = tuple(files)
        self.num_tokens = sum(file.num_tokens for file in files)
        self.dtype = np.dtype(
            np.uint32 if any(file.dtype == "uint32" for file in files) else np.uint16
        ).newbyteorder("<")

        self.store = store
        self._cache = cache
        self._segments = Segments(
            store,
            files,
            snapshot.tokenizer_fingerprint,
            cache=cache,
            decoded_bytes=decoded_bytes,
            ahead=ahead,
            maps=maps,
        )
        # Most row groups fetched by `prefetch`; 0 if all are mapped in place.
        self.ahead = self._segments.ahead
        # Tokens of the largest row group: neighbouring tokens are fetched together.
        self.run_tokens = max(
            (group.rows * file.row_tokens for file in files for group in file.row_groups), default=1
        )
        self._file_starts = np.cumsum([0, *(file.num_tokens for file in files)])
        self._spans: OrderedDict[int, tuple[Any, np.ndarray]] = OrderedDict()

    @property
    def suggested_window(self) -> int:
        """A `window` small enough for this cache.

        0 where every row group is at hand.
        """
        if self.ahead == 0 or self._cache is None:
            return 0
        width = self.dtype.itemsize
        return self._cache.window_for(self.num_tokens * width, self.run_tokens * width)

    def cache_bytes_for(self, window: int) -> int:
        """The cache that a window of so many row groups needs."""
        return bytes_for_window(window, self.run_tokens * self.dtype.itemsize)

    @property
    def misses(self) -> int:
        """Row groups fetched on demand so far, or taken from those fetched ahead."""
        return self._segments.misses

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Tokens [start, stop). Shape (stop - start,).

        A read-only view of the map if they are contiguous there.

        Raises: IndexError outside 0 <= start <= stop <= num_tokens.
        """
        if not 0 <= start <= stop <= self.num_tokens:
            raise IndexError(f"tokens [{start}, {stop}) of a split of {self.num_tokens}")

        pieces = list(self._segments.pieces(start, stop))
        if len(pieces) == 1:
            return pieces[0]

        return np.concatenate(pieces) if pieces else np.zeros(0, self.dtype)

    def read_blocks(
        self, starts: np.ndarray, length: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """`length` tokens from each of `starts`.

        Shape (len(starts), length) int64, written to `out` if given.
        """
        blocks = np.empty((len(starts), length), np.int64) if out is None else out
        self._segments.read_blocks(starts, blocks)
        return blocks

    def read_pieces(
        self,
        starts: np.ndarray,
        lengths: np.ndarray,
        rows: np.ndarray,
        places: np.ndarray,
        out: np.ndarray,
    ) -> None:
        """Write `lengths` tokens from each of `starts` to `out[row, place:]`.

        Shapes (n,) each, (B, T).
        """
        self._segments.read_pieces(starts, lengths, rows, places, out)

    def piece_reader(
        self, starts: np.ndarray, lengths: np.ndarray, targets: np.ndarray
    ) -> PieceReader | None:
        """As `Segments.piece_reader`."""
        return self._segments.piece_reader(starts, lengths, targets)

    def document_ends(self) -> np.ndarray:
        """Ends of the split's documents with text, ascending.

        Shape (documents,) int64. Reads all spans once.
        """
        ends = read_many(self.store, self.files, lambda file: read_ends(self.store, file))
        bases = self._file_starts.tolist()
        found = [base + part for base, part in zip(bases, ends, strict=False)]
        every = np.concatenate([np.zeros(0, np.int64), *found])
        return every[np.diff(every, prepend=0) > 0]

    def prefetch(self, starts: np.ndarray, length: int) -> None:
        """Begin to fetch the first row groups for `read_blocks` of these, in the background.

        At most `ahead` row groups.
        """
        self._segments.prefetch(starts, length)

    def documents(self, start: int, stop: int) -> list[Document]:
        """The documents of tokens [start, stop), each with its share of the range.

        Those without text have no tokens and are in no range.
        """
        found = []
        first = int(np.searchsorted(self._file_starts, start, "right")) - 1
        for index in range(first, len(self.files)):
            base = int(self._file_starts[index])
            if base >= stop:
                break

            ids, ends = self.file_spans(index)
            row = int(np.searchsorted(ends, start - base, "right"))
            while row < len(ends):
                begin = base + (int(ends[row - 1]) if row else 0)
                if begin >= stop:
                    break
                end = base + int(ends[row])
                share = max(begin, start), min(end, stop)
                if share[0] < share[1]:
                    found.append(Document(ids[row].as_py(), self.files[index].batch, *share))
                row += 1

        return found

    def file_spans(self, index: int) -> tuple[Any, np.ndarray]:
        """Document ids of a file and where each ends in it; the few files used last are kept."""
        if index not in self._spans:
            self._spans[index] = read_spans(self.store, self.files[index])
            if len(self._spans) > 8:
                self._spans.popitem(last=False)
        self._spans.move_to_end(index)
        return self._spans[index]

    def verify(self) -> None:
        """Read every file and compare digests.

        Raises SchemaError naming the first damaged file and row group.
        """
        for file in self.files:
            if damage := find_file_damage(
                self.store, file.path, file.bytes, file.digest, file.row_groups
            ):
                raise SchemaError(f"{self.store.root}/{damage}; {mend(self.store, file.path)}")


def read_spans(store: Store, file: TokenFile) -> tuple[Any, np.ndarray]:
    """Ids of the documents of a token file, and where each ends in it.

    Shapes (n,) strings, (n,) int64.
    """
    table = read_file(store, file.spans_path, ["doc_id", "start", "num_tokens"]).combine_chunks()
    return table["doc_id"].combine_chunks(), table["start"].to_numpy() + table[
        "num_tokens"
    ].to_numpy()


def read_ends(store: Store, file: TokenFile) -> np.ndarray:
    """Ends of a token file's documents in it. Shape (n,) int64."""
    table = read_file(store, file.spans_path, ["start", "num_tokens"])
    ends: np.ndarray = table["start"].to_numpy() + table["num_tokens"].to_numpy()
    return ends


def open_split(
    corpus: str,
    snapshot: str,
    split: Split,
    *,
    batches: Sequence[str] | None = None,
    cache: TokenCache | None = None,
    decoded_bytes: int = DECODED_BYTES,
    ahead: int = AHEAD,
) -> TokenSplit:
    """The split of a snapshot, checked as far as costs milliseconds: sizes and footers of all its files.

    `batches` leaves only those of the snapshot. `cache` keeps row groups not mappable in place;
    without one, a corpus on an object store gets the user's default cache, and local compressed
    files are held decoded in memory. `TokenSplit.verify` reads everything. Raises: InputError,
    SchemaError for anything missing, truncated, or different from the snapshot.
    """
    return open_splits(
        corpus, snapshot, split, [batches], cache=cache, decoded_bytes=decoded_bytes, ahead=ahead
    )[0]


@without_collection()
def open_splits(
    corpus: str,
    snapshot: str,
    split: Split,
    choices: Sequence[Sequence[str] | None],
    *,
    cache: TokenCache | None = None,
    decoded_bytes: int = DECODED_BYTES,
    ahead: int = AHEAD,
) -> list[TokenSplit]:
    """`open_split` for several choices of batches; each reads on its own.

    Every file is checked once.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r}: expected one of {', '.join(SPLITS)}")

    store = open_corpus(corpus)
    # An object store costs no other request: each row group is compared with its digest when it is fetched.
    found = patiently(store, lambda: read_snapshot(store, snapshot), f"{store.root}/snapshots")
    present = [batch.batch for batch in found.batches]
    if unknown := {name for batches in choices for name in batches or ()} - set(present):
        raise InputError(
            f"snapshot {snapshot}: no batch {sorted(unknown)}; present: {', '.join(present)}"
        )

    files = [
        [file for file in found.splits[split].files if batches is None or file.batch in batches]
        for batches in choices
    ]
    maps = Maps()

    if store.is_local:
        wanted = {file.path: file for chosen in files for file in chosen}.values()
        for path, status in check_local_files(store, wanted, found.tokenizer_fingerprint):
            maps.remember(path, status)
    elif cache is None:
        cache = TokenCache()

    return [
        TokenSplit(
            store,
            found,
            split,
            chosen,
            cache=cache,
            decoded_bytes=decoded_bytes,
            ahead=ahead,
            maps=maps,
        )
        for chosen in files
    ]
