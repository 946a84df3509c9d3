"""Training batches of 8 rows of 1,024 tokens as int64: our stream beside five others.

One process without workers. Random: ours, ours in whole documents, np.memmap on a .bin and
nanoGPT's get_batch draw random rows of the same tokens. Sequential: one pass in order, ours plain and as zstd, Hugging Face
datasets (streaming Parquet), MosaicML's MDS (our export), LitData and grain (over our own file),
each in the way named first in its documentation. The slow ones run if installed
(bench/requirements-stream.txt), on the first part of the tokens.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bench.material import prose
from bench.measure import Contestant, Turn, Work, alternate, arguments, show
from corpus.snapshots.snapshot import write_snapshot
from corpus.storage.store import open_corpus, open_store
from corpus.tables.commit import commit_table
from corpus.tables.schemas import TOKENS
from shards.export import to_mds
from shards.reader import BlockStream, PackedStream, TokenSplit, open_split
from shards.tokenizer import vocabulary
from shards.tokenizer.encode import Tokenizer
from shards.write_step import TokenWriter, WriterConfig

BLOCK, BATCH, STEPS = 1024, 8, 2000
NUM_TOKENS = 48_000_000
PEER_TOKENS = 4 << 20


def main() -> None:
    args = arguments(__doc__, rounds=5).parse_args()
    torch.set_num_threads(1)
    texts, source = prose(40_000_000)
    tokenizer = Tokenizer(vocabulary.gpt2())
    ids = np.resize(
        tokenizer.encode_array(pa.array(texts, pa.large_string()), end_of_text=True)[0], NUM_TOKENS
    )

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.bin"
        ids.astype(np.uint16).tofile(path)
        plain = _split(folder, "plain", ids, tokenizer, WriterConfig())
        packed = _split(folder, "packed", ids, tokenizer, WriterConfig(compression="zstd"))
        ratio = round(sum(file.bytes for file in packed.files) / path.stat().st_size, 3)
        works = {
            "ours": ("plain", _ours(plain)),
            "ours-packed": ("documents", _packed(plain, ids)),
            "np.memmap": (np.__version__, _memmap(path)),
            "nanogpt": ("get_batch", _nanogpt(path)),
            "ours-sequential": ("plain", _sequential(plain, {})),
            "ours-zstd-sequential": ("zstd", _sequential(packed, {"bytes_of_bin": ratio})),
        }
        contestants = [
            Contestant(name, lambda _, work=work: work, version=version)
            for name, (version, work) in works.items()
        ]
        few = ids[:PEER_TOKENS].astype(np.uint16)
        small = _split(folder, "small", few, tokenizer, WriterConfig())
        contestants += [
            Contestant("datasets", lambda _: _datasets(folder, few), "datasets"),
            Contestant("mds", lambda _: _mds(folder, small, tokenizer), "mosaicml-streaming"),
            Contestant("litdata", lambda _: _litdata(folder, few), "litdata"),
            Contestant("grain", lambda _: _grain(small), "grain"),
        ]
        description = f"{source}, repeated to {NUM_TOKENS:,} tokens"
        result = alternate(
            "stream", contestants, None, description=description, unit="Mtok/s", rounds=args.rounds
        )
        result["ratios"].update(_sequential_ratios(result))
        show(result, as_json=args.json)


def _split(
    folder: str, name: str, ids: np.ndarray, tokenizer: Tokenizer, config: WriterConfig
) -> TokenSplit:
    root = f"{folder}/{name}"
    store = open_corpus(root, create=True)
    with store.open_output(f"{TOKENS.folder('b')}/train/part-00000.parquet") as stream:
        writer = TokenWriter(stream, "train/part-00000.parquet", "train", tokenizer, config)
        writer.write(ids, 1, 1)
        part = writer.finish()

    commit_table(store, TOKENS, "b", [part])
    write_snapshot(store, "s", ["b"])
    return open_split(root, "s", "train")


def _ours(split: TokenSplit) -> Work:
    quality = _exactness(split)
    stream = BlockStream(split, block_size=BLOCK, seed=1)

    def turn() -> Turn:
        for _ in range(STEPS):
            stream.next_batch(BATCH)
        return Turn(STEPS * BATCH * BLOCK / 1e6, quality)

    return turn


def _packed(split: TokenSplit, ids: np.ndarray) -> Work:
    """Rows of whole documents. The bench's split has no spans: ends are read off the tokens."""
    ends = np.flatnonzero(ids == split.end_of_text) + 1
    split.document_ends = lambda: ends  # type: ignore[method-assign]
    stream = PackedStream(split, block_size=BLOCK, seed=1)

    def turn() -> Turn:
        for _ in range(STEPS):
            stream.next_batch(BATCH)
        return Turn(STEPS * BATCH * BLOCK / 1e6, {"waste": round(stream.waste, 4)})

    return turn


def _memmap(path: Path) -> Work:
    """The minimum work of a trainer on a .bin: map once, convert each row into its place."""
    data = np.memmap(path, np.uint16, "r")
    rng = np.random.default_rng(1)

    def turn() -> Turn:
        for _ in range(STEPS):
            batch = np.empty((BATCH, BLOCK + 1), np.int64)
            for row, start in enumerate(rng.integers(0, len(data) - BLOCK, BATCH).tolist()):
                batch[row] = data[start : start + BLOCK + 1]
        return Turn(STEPS * BATCH * BLOCK / 1e6)

    return turn


def _nanogpt(path: Path) -> Work:
    """nanoGPT's `get_batch`: a new map per batch; x and y are copied and stacked by torch."""

    def turn() -> Turn:
        for _ in range(STEPS // 4):
            data = np.memmap(path, dtype=np.uint16, mode="r")
            starts = torch.randint(len(data) - BLOCK, (BATCH,))
            torch.stack([torch.from_numpy(data[i : i + BLOCK].astype(np.int64)) for i in starts])
            torch.stack(
                [torch.from_numpy(data[i + 1 : i + 1 + BLOCK].astype(np.int64)) for i in starts]
            )

        return Turn(STEPS // 4 * BATCH * BLOCK / 1e6)

    return turn


def _sequential(split: TokenSplit, quality: dict[str, float]) -> Work:
    out = np.empty((BATCH, BLOCK + 1), np.int64)

    def turn() -> Turn:
        step = BATCH * BLOCK
        stops = range(0, split.num_tokens - step - 1, step)
        for start in stops:
            split.read_blocks(np.arange(start, start + step, BLOCK), BLOCK + 1, out)
        return Turn(len(stops) * step / 1e6, quality)

    return turn


def _sequential_ratios(result: dict[str, Any]) -> dict[str, float]:
    """Our sequential pass against the libraries' passes, per CPU second as all ratios."""
    rates = {
        row["name"]: row["rate"] * row["wall_s"] / row["cpu_s"] for row in result["contestants"]
    }
    return {
        f"{ours}/{name}": round(rates[ours] / rates[name], 2)
        for ours in ("ours-sequential", "ours-zstd-sequential")
        for name in ("datasets", "mds", "litdata", "grain")
        if name in rates
    }


def _datasets(folder: str, ids: np.ndarray) -> Work:
    """Hugging Face: a Parquet list column, streamed, as numpy, by batches."""
    import datasets

    path = f"{folder}/rows.parquet"
    rows = pa.FixedSizeListArray.from_arrays(pa.array(ids.astype(np.int32)), BLOCK)
    pq.write_table(pa.table({"input_ids": rows.cast(pa.list_(pa.int32()))}), path)

    def turn() -> Turn:
        stream = datasets.load_dataset("parquet", data_files=path, split="train", streaming=True)
        batches = stream.with_format("numpy").iter(batch_size=BATCH)
        return _drain(batch["input_ids"].astype(np.int64) for batch in batches)

    return turn


def _mds(folder: str, split: TokenSplit, tokenizer: Tokenizer) -> Work:
    """MosaicML: StreamingDataset over local shards, in order."""
    import streaming

    list(to_mds(split, tokenizer, open_store(f"{folder}/mds")))

    def turn() -> Turn:
        streaming.base.util.clean_stale_shared_memory()
        dataset = streaming.StreamingDataset(
            local=f"{folder}/mds/train", shuffle=False, batch_size=BATCH
        )
        return _drain(_batched(sample["tokens"].astype(np.int64) for sample in dataset))

    return turn


def whole_file(path: str) -> Iterator[torch.Tensor]:
    """One item for LitData to cut into blocks."""
    yield torch.from_numpy(np.fromfile(path, np.uint16))


def _litdata(folder: str, ids: np.ndarray) -> Work:
    """LitData: optimized once, then its TokensLoader."""
    import litdata
    from litdata.streaming.item_loader import TokensLoader

    ids.tofile(f"{folder}/few.bin")
    with contextlib.redirect_stdout(sys.stderr):
        litdata.optimize(
            whole_file,
            [f"{folder}/few.bin"],
            output_dir=f"{folder}/litdata",
            num_workers=1,
            chunk_bytes="64MB",
            item_loader=TokensLoader(block_size=BLOCK),
        )

    def turn() -> Turn:
        loader = TokensLoader(block_size=BLOCK)
        dataset = litdata.StreamingDataset(f"{folder}/litdata", item_loader=loader, shuffle=False)
        return _drain(_batched(block.numpy().astype(np.int64) for block in dataset))

    return turn


def _grain(split: TokenSplit) -> Work:
    """grain: its Parquet source over our own file."""
    import grain

    logging.getLogger("absl").setLevel(logging.ERROR)
    path = f"{split.store.root}/{split.files[0].path}"

    def turn() -> Turn:
        dataset = grain.experimental.ParquetIterDataset(path)
        rows = dataset.map(lambda row: np.frombuffer(row["tokens"], "<u2").astype(np.int64))
        return _drain(rows.batch(BATCH))

    return turn


def _batched(rows: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []


def _drain(batches: Iterator[np.ndarray]) -> Turn:
    tokens = 0
    for batch in batches:
        assert batch.shape[1] == BLOCK
        tokens += batch.size
    return Turn(tokens / 1e6)


def _exactness(split: TokenSplit) -> dict[str, Any]:
    """Milliseconds to open a split and to resume at 90 %, and MB of growth over three epochs."""
    stream = BlockStream(split, block_size=BLOCK, seed=1)
    stream.next_batch(stream.num_blocks // BATCH * BATCH)
    before = _resident_mb()
    while stream.epoch < 4:
        stream.next_batch(BATCH)
    growth = _resident_mb() - before
    state = {**stream.state_dict(), "index": stream.num_blocks * 9 // 10}
    started = time.perf_counter()
    again = open_split(split.store.root, "s", "train")
    opened = time.perf_counter()
    later = BlockStream(again, block_size=BLOCK, seed=1)
    later.load_state_dict(state)
    later.next_batch(BATCH)

    return {
        "open_ms": round((opened - started) * 1e3, 2),
        "resume_ms": round((time.perf_counter() - opened) * 1e3, 2),
        "growth_mb": round(growth, 1),
    }


def _resident_mb() -> float:
    """Resident memory now. Its peak would hide growth below the memory of the preparations."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
