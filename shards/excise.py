"""Cuts documents out of token files by their spans, without encoding again, for a take-down.

The tokens before and after a document stay, so the new file is, byte for byte, the one made by
encoding the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_hexdigest

from corpus.errors import InputError, SchemaError
from corpus.storage.store import Store, table_dir
from corpus.tables.checksums import find_damage
from corpus.tables.manifest import Part, mend, read_manifest, section
from corpus.tables.parquet import (
    PartFile,
    check_unpacked,
    open_part,
    part_index,
    read_file,
    unpacked_limit,
)
from corpus.tables.schemas import SPANS, TOKENS
from shards.tokenizer.encode import Tokenizer, load_tokenizer
from shards.write_step import TokenWriter, WriterConfig


@dataclass(frozen=True, slots=True)
class Excised:
    """The parts of both tables as they are to be committed, and the counts of removed items."""

    tokens: list[Part]
    spans: list[Part]
    num_documents: int
    num_tokens: int


def excise(store: Store, batch: str, doc_ids: frozenset[str]) -> Excised:
    """The parts of `tokens` and `spans` without some documents; other files stay as they are.

    Raises: InputError when the batch was encoded by another tokenizer than the corpus' own;
    SchemaError for a damaged file: a new file would hold its bytes under valid digests.
    """
    spans, tokens = (
        read_manifest(store, SPANS.name, batch),
        read_manifest(store, TOKENS.name, batch),
    )
    config = section(tokens, "writer", WriterConfig)
    by_place = {_place(part.file): part for part in tokens.parts}
    wanted = pa.array(sorted(doc_ids), pa.string())
    new_tokens: list[Part] = []
    new_spans: list[Part] = []
    documents = num_tokens = 0

    for part in spans.parts:
        rows = read_file(store, f"{table_dir(SPANS.name, batch)}/{part.file}").combine_chunks()
        gone = np.asarray(pc.is_in(rows["doc_id"], wanted))
        old = by_place[_place(part.file)]
        if gone.any():
            _check_whole(store, SPANS.folder(batch), part)
            _check_whole(store, TOKENS.folder(batch), old)

        if not gone.any():
            made = old, part
        elif _is_cut(old, rows, gone):
            made = old, _write_spans(store, batch, old.file, rows, gone, spans.num_parts)
        else:
            made = _without(store, batch, old, rows, gone, config, spans.num_parts)
            num_tokens += int(rows["num_tokens"].to_numpy()[gone].sum())

        new_tokens.append(made[0])
        new_spans.append(made[1])
        documents += int(gone.sum())

    return Excised(new_tokens, new_spans, documents, num_tokens)


def _place(file: str) -> tuple[str, int | None]:
    return file.partition("/")[0], part_index(file)


def _without(
    store: Store,
    batch: str,
    old: Part,
    rows: pa.Table,
    gone: np.ndarray,
    config: WriterConfig,
    num_parts: int,
) -> tuple[Part, Part]:
    """New files beside the old ones: a part's tokens and spans without the removed rows."""
    tokenizer = load_tokenizer(store)
    _check_tokenizer(store, batch, old, tokenizer)
    split, number = old.metadata["split"], part_index(old.file)
    assert number is not None
    all_tokens = _read_tokens(store, f"{table_dir(TOKENS.name, batch)}/{old.file}", old)
    counts = rows["num_tokens"].to_numpy().astype(np.int64)
    stays = np.repeat(~gone, counts)
    lost = [
        all_tokens[start : start + count]
        for start, count in zip(rows["start"].to_numpy()[gone], counts[gone], strict=True)
    ]
    num_bytes = old.metadata["num_bytes"] - sum(
        len(tokenizer.document_text(ids.tolist()).encode()) for ids in lost
    )
    generation = xxh3_64_hexdigest(
        f"{old.digest} {rows['doc_id'].filter(pa.array(gone)).to_pylist()}".encode()
    )[:12]
    file = str(PurePosixPath(old.file).with_name(f"part-{number:05}.{generation}.parquet"))

    with store.open_output(f"{table_dir(TOKENS.name, batch)}/{file}") as stream:
        writer = TokenWriter(stream, file, split, tokenizer, config)
        writer.write(all_tokens[: len(stays)][stays], int((~gone).sum()), num_bytes)
        made = writer.finish()

    return made, _write_spans(store, batch, file, rows, gone, num_parts)


def _write_spans(
    store: Store, batch: str, file: str, rows: pa.Table, gone: np.ndarray, num_parts: int
) -> Part:
    """Write the places of the remaining documents after the others are cut out."""
    left = rows.filter(pa.array(~gone))
    counts = left["num_tokens"].to_numpy().astype(np.int64)
    starts = pa.array(np.cumsum(counts) - counts, pa.int64())
    number = part_index(file)
    with open_part(store, SPANS.folder(batch), file, SPANS, number, num_parts) as writer:
        writer.write(left.set_column(1, SPANS.schema.field("start"), starts))
        return writer.finish()


def _is_cut(tokens: Part, rows: pa.Table, gone: np.ndarray) -> bool:
    """True if an interrupted take-down has committed the tokens without these documents and not yet the spans.

    Raises: InputError where the two fit in no way.
    """
    counts = rows["num_tokens"].to_numpy().astype(np.int64)
    present = tokens.metadata["num_tokens"]
    if present not in (counts.sum(), counts[~gone].sum()):
        raise InputError(
            f"{tokens.file}: {present:,} tokens, its spans say {counts.sum():,}; run `webtext "
            "verify`"
        )

    return bool(present != counts.sum())


def _check_tokenizer(store: Store, batch: str, part: Part, tokenizer: Tokenizer) -> None:
    theirs = part.metadata["tokenizer"]["fingerprint"]
    if theirs != tokenizer.fingerprint:
        raise InputError(
            f"{store.root}: batch {batch!r} was encoded by tokenizer {theirs}, the corpus has "
            f"{tokenizer.fingerprint}; "
            f"run `webtext shards --corpus {store.root} --batch {batch} --rebuild` first"
        )


def _check_whole(store: Store, folder: str, part: Part) -> None:
    damage = find_damage(store, folder, part)
    if damage is not None:
        again = mend(store, f"{folder}/{part.file}")
        raise SchemaError(f"{store.root}/{damage}; {again}; then take down again")


def _read_tokens(store: Store, path: str, part: Part) -> np.ndarray:
    """All tokens of a file, padding included. Shape (rows * row_tokens,).

    Raises: SchemaError if it unpacks to more than its manifest and its size allow.
    """
    dtype = np.dtype(part.metadata["dtype"]).newbyteorder("<")
    expected = part.rows * part.metadata["row_tokens"] * dtype.itemsize
    limit = min(expected, unpacked_limit(store.size(path)))
    where = f"{store.root}/{path}"
    pieces: list[bytes] = []
    num_bytes = 0

    with store.open_input(path) as stream:
        file = PartFile(stream, where)
        # A group at a time: each is decoded in slices, within the limit of memory.
        for group in range(file.num_row_groups):
            found = file.read_row_group(group, ["tokens"])["tokens"].to_pylist()
            num_bytes += sum(map(len, found))
            check_unpacked(where, num_bytes, limit)
            pieces += found

    return np.frombuffer(b"".join(pieces), dtype)
