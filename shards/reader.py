"""The reader of token files: the part of this stage for training code, here or elsewhere.

    split = open_split("my-corpus", "first", "train")
    stream = BlockStream(split, block_size=1024, seed=1337)
    rows = stream.next_batch(512, rank=0, world_size=1)    # (512, 1025) int64
    stream.state_dict()                                    # continues in any process of any world
    files = snapshot_files("my-corpus", "first", "train")  # for pyarrow, DuckDB, Polars, ...

numpy and the tables' own Arrow are all it needs; no worker processes. Local plain files are
memory-mapped, others are fetched to a bounded cache, ahead of need.
"""

from corpus.errors import InputError
from corpus.snapshots.snapshot import SPLITS, Split, read_snapshot
from corpus.storage.store import open_corpus
from shards.stream.blocks import Blocks, BlockStream, document_numbers, sequential_blocks
from shards.stream.by_weight import WeightedSplit, weigh
from shards.stream.cache import TokenCache
from shards.stream.epochs import MOST_FETCHED, least_window, most_fetched
from shards.stream.mixture import MixtureStream, Packing, open_mixture
from shards.stream.packing import IGNORED, PackedFields, PackedStream, packed_fields
from shards.stream.sources import Source
from shards.stream.token_source import Tokens
from shards.stream.tokens import Document, TokenSplit, open_split

__all__ = [
    "IGNORED",
    "MOST_FETCHED",
    "BlockStream",
    "Blocks",
    "Document",
    "MixtureStream",
    "PackedFields",
    "PackedStream",
    "Packing",
    "Source",
    "TokenCache",
    "TokenSplit",
    "Tokens",
    "WeightedSplit",
    "document_numbers",
    "least_window",
    "most_fetched",
    "open_mixture",
    "open_split",
    "packed_fields",
    "sequential_blocks",
    "snapshot_files",
    "weigh",
]


def snapshot_files(
    corpus: str, snapshot: str, split: Split = "train", *, spans: bool = False
) -> list[str]:
    """The Parquet files of a snapshot's split, in order, for other readers: paths below `corpus`, or URIs.

    `spans=True` gives the files with each document's position, one for each file of tokens. A
    rebuild may move a file, so ask again after one. Raises: InputError for an unknown snapshot or
    split.
    """
    store = open_corpus(corpus)
    found = read_snapshot(store, snapshot).splits.get(split)
    if found is None:
        raise InputError(f"split {split!r}: expected one of {', '.join(SPLITS)}")

    return [f"{store.root}/{file.spans_path if spans else file.path}" for file in found.files]
