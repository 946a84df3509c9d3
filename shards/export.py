"""Exports of a snapshot to other projects' formats, for their trainers and for comparison.

nanogpt    train.bin, val.bin: the tokens as uint16, documents ended by end-of-text; meta.pkl for any
           vocabulary but GPT-2's
llmc       train_000000.bin ...: 256 int32 of header, then uint16 or uint32; documents begin with
           end-of-text, as llm.c expects
datasets   train-00000-of-00004.parquet ...: doc_id, url, ..., text, input_ids without end-of-text,
           for Hugging Face `load_dataset("parquet")`
mds        train/index.json, train/shard.00000.mds ...: samples of 1,024 tokens, for MosaicML's
           StreamingDataset

`shards.export_formats` has megatron, datatrove, litdata and numpy; other packages may bring more
(`corpus.plugins`).
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterator, Sequence, Set
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.errors import FatalError, InputError
from corpus.plugins import EXPORTERS, find, installed
from corpus.run import command
from corpus.snapshots.export_log import note_export
from corpus.snapshots.snapshot import SPLITS, TokenFile
from corpus.snapshots.snapshot_remarks import warn_of_remarks
from corpus.storage.store import Store, open_corpus, open_store
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import part_index, part_paths, read_file
from corpus.tables.schemas import DOCUMENTS, RIGHTS
from shards.export_formats import to_datatrove, to_litdata, to_megatron, to_numpy
from shards.reader import Document, TokenSplit, open_split
from shards.tokenizer.encode import TOKENIZER_PATH, Tokenizer, load_tokenizer
from shards.tokenizer.vocabulary import gpt2

CHUNK_TOKENS = 1 << 22
# Magic number and version by bytes of a token (llm.c, dev/data/data_common.py: GPT-2, Llama 3).
LLMC_FORMATS = {2: (20240520, 1), 4: (20240801, 7)}
LLMC_HEADER = 256
# llm.c reads its shards with 32-bit offsets: below 2 GB; its own scripts write 100 M.
LLMC_SHARD_TOKENS = 100_000_000
ROWS_PER_GROUP = 1000
# Columns of `documents` in `datasets` rows, beside the text.
PROVENANCE = ("url", "domain", "title", "published", "fetched_at", "score", "subreddit", "language")
# Names taken for a data set by the readers of these formats.
NUMBERED = {"llmc": r"(train|val)_\d{6}\.bin", "datasets": r"(train|val)-\d{5}-of-\d{5}\.parquet"}
MDS_SAMPLE_TOKENS = 1024
# 64 MiB of uint16, the default size of MDS writers; offsets in a shard are 32 bits
# wide.
MDS_SHARD_SAMPLES = 1 << 15


def main(argv: Sequence[str] | None = None) -> int:
    """Write a snapshot in another project's format."""
    return command.run_command(_body, argv, stage="shards.export")


def _body(argv: Sequence[str] | None) -> int:
    parser = command.parser("shards.export", "A snapshot in another project's format.", batch=False)
    parser.add_argument("--snapshot", required=True, metavar="NAME", help="which snapshot")
    formats = [*sorted(FORMATS), *installed(EXPORTERS)]
    parser.add_argument("--to", required=True, choices=formats, help="whose format")
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="where to write: a folder or a URI, best an empty one",
    )
    parser.add_argument("--split", choices=SPLITS, help="only this split (default: both)")
    args = parser.parse_args(argv)
    store = open_corpus(args.corpus)
    tokenizer = load_tokenizer(store)
    target = open_store(args.out)
    names = [args.split] if args.split else SPLITS
    splits = [open_split(args.corpus, args.snapshot, name) for name in names]
    _refuse_empty(args.snapshot, splits)
    _check_tokenizer(store, args.snapshot, splits[0], tokenizer)
    warn_of_remarks(store, args.snapshot)
    for split in splits if store.is_local else []:
        split.verify()  # reads from an object store compare digests anyway
    written: dict[str, int] = {}
    export = FORMATS.get(args.to) or find(EXPORTERS, args.to, "--to").load()

    for split in splits:
        for path in export(split, tokenizer, target):
            written[path] = target.size(path)
            print(f"{args.out}/{path}  {written[path]:,} bytes")

    if args.to == "nanogpt" and tokenizer.fingerprint != gpt2().fingerprint:
        written["meta.pkl"] = _write_meta(tokenizer, target)
    _refuse_strangers(target, args.to, written.keys())
    note_export(store, args.snapshot, args.to, args.out)
    if args.json:
        print(
            json.dumps(
                {"corpus": args.corpus, "snapshot": args.snapshot, "to": args.to, "files": written}
            )
        )

    return 0


def _check_tokenizer(store: Store, snapshot: str, split: TokenSplit, tokenizer: Tokenizer) -> None:
    """Raise InputError if the snapshot was encoded by another tokenizer than the corpus' own."""
    if split.tokenizer_fingerprint != tokenizer.fingerprint:
        raise InputError(
            f"{store.root}: snapshot {snapshot!r} was encoded by tokenizer "
            f"{split.tokenizer_fingerprint}, {TOKENIZER_PATH} is "
            f"{tokenizer.fingerprint}; restore that file, or export a snapshot that was made with "
            "it"
        )


def _refuse_empty(snapshot: str, splits: Sequence[TokenSplit]) -> None:
    """Raise InputError for a split without tokens: its readers cannot open an empty file."""
    for split in splits:
        if not split.num_tokens:
            other = next((each.name for each in splits if each.num_tokens), None)
            hint = f"export --split {other} alone, or use" if other else "use"
            raise InputError(
                f"snapshot {snapshot}: its {split.name} split has no tokens; "
                f"{hint} a larger corpus or another shards.writer.val_frac"
            )


def _write_meta(tokenizer: Tokenizer, target: Store) -> int:
    """Write nanoGPT's `meta.pkl` with the size of the vocabulary; returns its bytes."""
    itos = {index: token.decode("utf-8", "replace") for index, token in tokenizer.tokens.items()}
    stoi = {text: index for index, text in reversed(itos.items())}
    data = pickle.dumps({"vocab_size": tokenizer.vocab_size, "itos": itos, "stoi": stoi})
    target.write_bytes("meta.pkl", data)
    return len(data)


def _refuse_strangers(target: Store, kind: str, written: Set[str]) -> None:
    """Raise FatalError for files of an earlier, longer export beside ours."""
    pattern = NUMBERED.get(kind)
    there = {path for path, _ in target.files("") if pattern and re.fullmatch(pattern, path)}
    if left := sorted(there - written):
        shown = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
        raise FatalError(
            f"{target.root}: all is written, but {len(left)} files of another export lie there "
            f"and would be read with it ({shown}); "
            f"remove them, or export to an empty folder"
        )


def to_nanogpt(split: TokenSplit, tokenizer: Tokenizer, target: Store) -> Iterator[str]:
    """One file; the path written.

    Raises InputError for a vocabulary wider than nanoGPT's uint16.
    """
    _need_uint16(split, "nanoGPT")
    path = f"{split.name}.bin"
    with target.open_output(path) as stream:
        for chunk in _chunks(split, 0, split.num_tokens):
            stream.write(chunk.tobytes())

    yield path


def to_llmc(
    split: TokenSplit, tokenizer: Tokenizer, target: Store, shard_tokens: int = LLMC_SHARD_TOKENS
) -> Iterator[str]:
    """Files of at most `shard_tokens`; their paths.

    Moving the last end-of-text to the front makes every document begin with one instead of ending
    with it.
    """
    magic, version = LLMC_FORMATS[split.dtype.itemsize]
    # Equal sizes: llm.c's loader stops at a last shard shorter than a batch of all ranks.
    num_shards = -(-split.num_tokens // shard_tokens)
    edges = np.linspace(0, split.num_tokens, num_shards + 1).astype(np.int64).tolist()
    for number, (start, stop) in enumerate(pairwise(edges)):
        header = np.zeros(LLMC_HEADER, "<i4")
        header[:3] = magic, version, stop - start
        path = f"{split.name}_{number:06}.bin"

        with target.open_output(path) as stream:
            stream.write(header.tobytes())
            if start == 0:
                stream.write(np.array([tokenizer.end_of_text], split.dtype).tobytes())
            for chunk in _chunks(split, max(0, start - 1), stop - 1):
                stream.write(chunk.astype(split.dtype, copy=False).tobytes())

        yield path


def to_datasets(split: TokenSplit, tokenizer: Tokenizer, target: Store) -> Iterator[str]:
    """One Parquet file per token file: a row per document; the paths."""
    end = tokenizer.end_of_text
    schema = pa.schema(
        [
            ("doc_id", pa.string()),
            *(DOCUMENTS.schema.field(name).with_nullable(True) for name in PROVENANCE),
            ("rights", pa.string()),
            ("batch", pa.string()),
            ("text", pa.string()),
            ("input_ids", pa.list_(pa.int32())),
        ],
        metadata={"webtext.end_of_text": f"{end} ends every document; input_ids leave it out"},
    )
    start = 0

    for number, file in enumerate(split.files):
        stop = start + file.num_tokens
        path = f"{split.name}-{number:05}-of-{len(split.files):05}.parquet"
        with (
            target.open_output(path) as stream,
            pq.ParquetWriter(pa.PythonFile(stream, mode="w"), schema, compression="zstd") as writer,
        ):
            documents = split.documents(start, stop)
            provenance = _provenance(split.store, file)
            for first in range(0, len(documents), ROWS_PER_GROUP):
                rows = document_rows(split, tokenizer, documents[first : first + ROWS_PER_GROUP])
                writer.write_table(_with_provenance(rows, provenance, file.batch, schema))

        start = stop
        yield path


def _provenance(store: Store, file: TokenFile) -> pa.Table:
    """Origin and rights of the documents of a token file, from the parts it was made of."""
    number = part_index(file.path)
    part = part_paths(store, DOCUMENTS.name, file.batch)[number]
    found = read_file(store, part, ["doc_id", *PROVENANCE]).combine_chunks()

    # Batches from before the table have none, and not every page was asked about.
    answers = pa.nulls(found.num_rows, pa.string())
    if find_manifest(store, RIGHTS.name, file.batch) is not None:
        part = part_paths(store, RIGHTS.name, file.batch)[number]
        rights = read_file(store, part, ["doc_id", "training"]).combine_chunks()
        rows = pc.index_in(found["doc_id"], value_set=rights["doc_id"].combine_chunks())
        answers = rights["training"].take(rows)
    return found.append_column("rights", answers)


def _with_provenance(
    rows: pa.Table, provenance: pa.Table, batch: str, schema: pa.Schema
) -> pa.Table:
    """The rows with address, date, score and so on, joined by id.

    Null for a removed document.
    """
    found = pc.index_in(rows["doc_id"], value_set=provenance["doc_id"].combine_chunks())
    columns: dict[str, Any] = {name: rows[name] for name in rows.column_names}
    columns |= {name: provenance[name].take(found) for name in (*PROVENANCE, "rights")}
    columns["batch"] = pa.array([batch] * rows.num_rows, pa.string())
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)


def document_rows(
    split: TokenSplit, tokenizer: Tokenizer, documents: Sequence[Document]
) -> pa.Table:
    """The columns doc_id, text and input_ids (without end-of-text) of adjacent documents."""
    begin, stop = documents[0].start, documents[-1].stop
    ends = np.array([document.stop - begin for document in documents])
    ids = np.delete(split.slice(begin, stop), ends - 1).astype(np.int32)
    offsets = np.concatenate([[0], ends - np.arange(1, len(ends) + 1)])
    texts = [
        tokenizer.document_text([*ids[a:b].tolist(), tokenizer.end_of_text])
        for a, b in pairwise(offsets.tolist())
    ]
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(ids))
    doc_ids = [document.doc_id for document in documents]

    return pa.table(
        {
            "doc_id": pa.array(doc_ids, pa.string()),
            "text": pa.array(texts, pa.string()),
            "input_ids": lists,
        }
    )


def to_mds(
    split: TokenSplit,
    tokenizer: Tokenizer,
    target: Store,
    samples_per_shard: int = MDS_SHARD_SAMPLES,
) -> Iterator[str]:
    """Shards of samples of `MDS_SAMPLE_TOKENS` tokens, and their index; the paths.

    A sample has one column `tokens`, an array of fixed type and length, so samples stack; the last
    is filled up with end-of-text. A shard: uint32 number of samples, uint32 offsets (one more),
    JSON of the columns, the samples.
    """
    kind = f"ndarray:{split.dtype.name}:{MDS_SAMPLE_TOKENS}"
    columns = {
        "column_encodings": [kind],
        "column_names": ["tokens"],
        "column_sizes": [MDS_SAMPLE_TOKENS * split.dtype.itemsize],
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": None,
    }
    described = json.dumps(columns, sort_keys=True).encode()
    shards: list[dict[str, Any]] = []

    for start in range(0, split.num_tokens, samples_per_shard * MDS_SAMPLE_TOKENS):
        tokens = split.slice(
            start, min(start + samples_per_shard * MDS_SAMPLE_TOKENS, split.num_tokens)
        )
        tail = np.full(-len(tokens) % MDS_SAMPLE_TOKENS, tokenizer.end_of_text, split.dtype)
        samples = (len(tokens) + len(tail)) // MDS_SAMPLE_TOKENS
        first = 4 + 4 * (samples + 1) + len(described)
        offsets = first + np.arange(samples + 1) * MDS_SAMPLE_TOKENS * split.dtype.itemsize
        name = f"shard.{len(shards):05}.mds"

        with target.open_output(f"{split.name}/{name}") as stream:
            stream.write(
                np.array([samples], "<u4").tobytes() + offsets.astype("<u4").tobytes() + described
            )
            stream.write(tokens.tobytes() + tail.tobytes())

        raw = {"basename": name, "bytes": int(offsets[-1]), "hashes": {}}
        shards.append(
            {**columns, "raw_data": raw, "samples": samples, "version": 2, "zip_data": None}
        )
        yield f"{split.name}/{name}"

    target.write_json(f"{split.name}/index.json", {"shards": shards, "version": 2})
    yield f"{split.name}/index.json"


FORMATS: dict[str, Callable[[TokenSplit, Tokenizer, Store], Iterator[str]]] = {
    "nanogpt": to_nanogpt,
    "llmc": to_llmc,
    "datasets": to_datasets,
    "mds": to_mds,
    "megatron": to_megatron,
    "datatrove": to_datatrove,
    "litdata": to_litdata,
    "numpy": to_numpy,
}


def _chunks(split: TokenSplit, start: int, stop: int) -> Iterator[np.ndarray]:
    for begin in range(start, stop, CHUNK_TOKENS):
        yield split.slice(begin, min(begin + CHUNK_TOKENS, stop))


def _need_uint16(split: TokenSplit, whose: str) -> None:
    if split.dtype.itemsize != 2:
        raise InputError(
            f"vocabulary of {split.vocab_size:,} ids: {whose}'s files hold 16 bits per token; "
            "export with --to datasets"
        )


if __name__ == "__main__":
    raise SystemExit(main())
