"""The sample of documents for training a tokenizer.

Documents come in the order of a hash of their id until the sample has the requested size, so the
sample depends on neither the number of parts nor the order of the batches.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Iterator, Sequence

from corpus.storage.store import Store
from corpus.tables.parquet import iter_tables, part_paths, read_file
from shards.split import fractions, is_validation
from shards.write_step import kept_pieces

log = logging.getLogger(__name__)

# Memory of training per byte of distinct words: 104 if all words differ (10 MB of random
# letters), less in prose.
BYTES_PER_NEW_BYTE = 110


def sample_texts(
    store: Store, batches: Sequence[str], *, sample_bytes: int, seed: int, val_frac: float
) -> Iterator[str]:
    """Kept training documents of `batches` as they are encoded, `sample_bytes` of UTF-8 in all.

    The last document is cut to fit. A batch with less gives all of its documents. Holds the sample
    in memory.
    """
    chosen: list[tuple[float, str, bytes]] = []
    size = 0
    bound = 1.0

    for fraction, doc_id, text in _documents(store, batches, seed, val_frac):
        if fraction >= bound:
            continue
        # A heap of the largest hashes: the documents kept are always the first of those seen so far.
        heapq.heappush(chosen, (-fraction, doc_id, text))
        size += len(text)
        while size - len(chosen[0][2]) >= sample_bytes:
            first = heapq.heappop(chosen)
            size -= len(first[2])
            bound = -first[0]

    if chosen and size > sample_bytes:
        fraction, doc_id, text = heapq.heappop(chosen)
        rest = text[: len(text) - (size - sample_bytes)].decode("utf-8", "ignore").encode()
        heapq.heappush(chosen, (fraction, doc_id, rest))

    for _, _, text in sorted(chosen, reverse=True):
        if text:
            yield text.decode()


def within_memory(texts: Iterable[str], memory_bytes: int) -> Iterator[str]:
    """`texts` until training on them would take more than `memory_bytes`."""
    met: set[str] = set()
    estimate = 0
    for text in texts:
        new = set(text.split()) - met
        estimate += BYTES_PER_NEW_BYTE * sum(len(word.encode()) for word in new)
        if estimate > memory_bytes:
            log.warning(
                "the tokenizer's sample ends before its size: more would take over %s bytes of "
                "memory "
                "(shards.tokenizer.memory_bytes)",
                f"{memory_bytes:,}",
            )
            return
        met |= new
        yield text


def _documents(
    store: Store, batches: Sequence[str], seed: int, val_frac: float
) -> Iterator[tuple[float, str, bytes]]:
    """Hash, id and text of every kept training document."""
    for batch in batches:
        paths = zip(
            part_paths(store, "documents", batch),
            part_paths(store, "verdicts", batch),
            strict=True,
        )

        for path, verdicts_path in paths:
            verdicts = read_file(store, verdicts_path, ["doc_id", "kept", "cuts"])
            for table in iter_tables(store, path, ["doc_id", "text"]):
                # A blank line between pieces: no word is learned across a seam.
                doc_ids, texts, _ = kept_pieces(table, verdicts, "paragraphs")
                ids = doc_ids.to_pylist()
                order = fractions(ids, seed)
                for row in (~is_validation(ids, val_frac)).nonzero()[0].tolist():
                    yield float(order[row]), ids[row], texts[row].as_py().encode()
