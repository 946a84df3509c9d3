"""Documents and verdicts to token files and spans: the one step of this stage.

A part of the documents becomes one token file per split, streamed: text is encoded a row group of
documents at a time and written a row group of tokens at a time, so memory is bounded by those two
for a part of any size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import field_validator, model_validator
from xxhash import xxh3_128

from corpus.config import Section
from corpus.errors import FatalError, InputError
from corpus.run.step import Context, Joins, Map, PartFunction, Written
from corpus.snapshots.snapshot import SPLITS, Split
from corpus.tables.conservation import NOT_KEPT
from corpus.tables.manifest import Input, Part
from corpus.tables.parquet import PartWriter, open_part
from corpus.tables.record import RowGroup
from corpus.tables.schemas import DOCUMENTS, SPANS, TOKENS, VERDICTS, tokens_schema
from shards.split import is_validation
from shards.stream.file_layout import metadata, values_offset
from shards.tokenizer.encode import Tokenizer, load_tokenizer

Seams = Literal["documents", "paragraphs"]


class WriterConfig(Section):
    """Layout of token files."""

    val_frac: float = 0.005
    """Share of the documents held out for validation, by hash of doc_id (the paper held out 0.05)."""
    row_tokens: int = 1024
    """Tokens of a Parquet row. Blocks of any length are read from the run of all rows."""
    row_group_tokens: int = 1 << 22
    """Tokens of a row group: what is written, checked, decoded and fetched at once (8 MiB of uint16)."""
    seams: Seams = "documents"
    """Pieces of a page between cuts: `documents` ends each with end-of-text (GPT-3), `paragraphs` joins them by a blank line."""
    compression: Literal["none", "zstd"] = "none"
    """`none` can be memory-mapped.

    `zstd` has 0.63 of the bytes and is decoded a row group at a time.
    """
    compression_level: int = 5
    """Of zstd, 1..19.

    English prose as GPT-2 tokens: 0.66 of the plain bytes at 3, 0.63 at 5, 0.60 at 9 (2026-11).
    """

    def without_effect(self) -> dict[str, str]:
        """The compression level and the reason, if compression is off."""
        if self.compression == "zstd":
            return {}
        return {"compression_level": "shards.writer.compression is 'none'"}

    @field_validator("val_frac")
    @classmethod
    def _fraction(cls, value: float) -> float:
        if not 0 <= value < 1:
            raise ValueError("expected 0 <= val_frac < 1")
        return value

    @field_validator("compression_level")
    @classmethod
    def _level(cls, value: int) -> int:
        if not 1 <= value <= 19:
            raise ValueError("expected 1..19")
        return value

    @model_validator(mode="after")
    def _whole_rows(self) -> WriterConfig:
        if (
            self.row_tokens < 1
            or self.row_group_tokens % self.row_tokens
            or self.row_group_tokens < 1
        ):
            raise ValueError(
                f"row_group_tokens {self.row_group_tokens} must be a positive multiple of "
                f"row_tokens {self.row_tokens}"
            )
        if self.row_group_tokens > 1 << 28:
            raise ValueError("row_group_tokens above 2**28: a Parquet page ends below 2 GiB")

        return self


class _Sink:
    """A stream with the digest of all bytes, and the bytes since the last mark (one row group)."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self.whole = xxh3_128()
        self.num_bytes = 0
        self.pieces: list[bytes] = []
        self.closed = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self.whole.update(piece)
        self.num_bytes += len(piece)
        self.pieces.append(piece)
        self._target.write(piece)
        return len(piece)

    def flush(self) -> None:
        return

    def take(self) -> bytes:
        """The bytes since the last call."""
        pieces, self.pieces = self.pieces, []
        return b"".join(pieces)


class TokenWriter:
    """One token file being written."""

    def __init__(
        self, stream: Any, file: str, split: Split, tokenizer: Tokenizer, config: WriterConfig
    ) -> None:
        self._file, self._split, self._config = file, split, config
        self._tokenizer = {
            "fingerprint": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
            "end_of_text": tokenizer.end_of_text,
        }
        self._dtype = np.dtype(
            np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
        ).newbyteorder("<")
        self._type = pa.binary(config.row_tokens * self._dtype.itemsize)

        # One data page per row group: its values are then one run of bytes, mappable by readers.
        self._sink = _Sink(stream)
        self._parquet = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"),
            tokens_schema(config.row_tokens, self._dtype.itemsize),
            compression=config.compression,
            compression_level=config.compression_level if config.compression == "zstd" else None,
            use_dictionary=False,
            write_statistics=False,
            data_page_size=1 << 30,
            write_batch_size=config.row_group_tokens,
            max_rows_per_page=config.row_group_tokens,
            store_schema=False,
        )
        self._sink.take()

        self._pending: list[np.ndarray] = []
        self._num_pending = 0
        self._content = xxh3_128()
        self._groups: list[tuple[int, int, str, int]] = []
        self.num_tokens = 0
        self.num_documents = 0
        self.num_bytes = 0

    def write(self, ids: np.ndarray, num_documents: int, num_bytes: int) -> None:
        """Append documents: their ids, each document ended; `num_bytes` of text."""
        self._pending.append(ids.astype(self._dtype))
        self._num_pending += len(ids)
        self.num_tokens += len(ids)
        self.num_documents += num_documents
        self.num_bytes += num_bytes

        if self._num_pending >= self._config.row_group_tokens:
            tokens = np.concatenate(self._pending)
            size = self._config.row_group_tokens
            whole = len(tokens) // size * size
            for start in range(0, whole, size):
                self._write_group(tokens[start : start + size])
            self._pending, self._num_pending = [tokens[whole:]], len(tokens) - whole

    def finish(self) -> Part:
        """Write the rest, padded to a whole row with end-of-text; the part's record."""
        if self._num_pending:
            padding = np.full(
                -self._num_pending % self._config.row_tokens, self._tokenizer["end_of_text"]
            )
            self._write_group(np.concatenate([*self._pending, padding.astype(self._dtype)]))

        content = self._content.hexdigest()
        dtype = self._dtype.name
        self._parquet.add_key_value_metadata(
            metadata(
                dtype=dtype,
                row_tokens=self._config.row_tokens,
                num_tokens=self.num_tokens,
                content=content,
                tokenizer=self._tokenizer,
            )
        )
        self._parquet.close()
        record = {
            "split": self._split,
            "dtype": dtype,
            "row_tokens": self._config.row_tokens,
            "num_documents": self.num_documents,
            "num_tokens": self.num_tokens,
            "num_bytes": self.num_bytes,
            "content": content,
            "compression": self._config.compression,
            "tokenizer": self._tokenizer,
            "row_groups": [group.model_dump() for group in self._row_groups()],
        }
        rows = sum(rows for *_, rows in self._groups)

        return Part(
            file=self._file,
            rows=rows,
            bytes=self._sink.num_bytes,
            digest=self._sink.whole.hexdigest(),
            metadata=record,
        )

    def _write_group(self, tokens: np.ndarray) -> None:
        rows = len(tokens) // self._config.row_tokens
        values = tokens.tobytes()
        self._content.update(values)
        array = pa.FixedSizeBinaryArray.from_buffers(self._type, rows, [None, pa.py_buffer(values)])
        offset = self._sink.num_bytes
        self._parquet.write_table(
            pa.table([array], schema=tokens_schema(self._config.row_tokens, self._dtype.itemsize)),
            row_group_size=rows,
        )
        written = self._sink.take()
        if self._config.compression == "none" and not written.endswith(values):
            raise FatalError(
                f"{self._file}: the Parquet library did not lay a row group out as one run of "
                'values; set shards.writer.compression = "zstd", which does without'
            )

        self._groups.append((offset, len(written), xxh3_128(written).hexdigest(), rows))

    def _row_groups(self) -> Iterator[RowGroup]:
        """Compare the written row groups with the footer's record of them."""
        footer = self._parquet.writer.metadata
        for number, (offset, num_bytes, digest, rows) in enumerate(self._groups):
            column = footer.row_group(number).column(0)
            if (column.data_page_offset, column.total_compressed_size) != (offset, num_bytes):
                raise FatalError(
                    f"{self._file}: row group {number} was written at {offset}+{num_bytes}, the "
                    f"footer says {column.data_page_offset}+{column.total_compressed_size}"
                )

            width = self._config.row_tokens * self._dtype.itemsize
            yield RowGroup(
                offset=offset,
                bytes=num_bytes,
                digest=digest,
                rows=rows,
                values_offset=values_offset(column, rows, width),
            )


class _SplitWriter:
    """The token file and the spans file of one split of a part."""

    def __init__(self, tokens: TokenWriter, spans: PartWriter, tokenizer: Tokenizer) -> None:
        self.tokens, self.spans, self._tokenizer = tokens, spans, tokenizer

    def write(self, doc_ids: Any, texts: Any, num_pieces: np.ndarray) -> None:
        """Append documents in their order. One without text has no tokens."""
        ids, piece_tokens = self._tokenizer.encode_array(texts, end_of_text=True)
        is_empty = np.asarray(pc.equal(pc.binary_length(texts), 0))
        if is_empty.any():
            # An end without a document before it would teach the model that documents are empty.
            ids = ids[np.repeat(~is_empty, piece_tokens)]
            piece_tokens[is_empty] = 0

        counts = np.add.reduceat(piece_tokens, np.cumsum(num_pieces) - num_pieces)
        starts = self.tokens.num_tokens + np.cumsum(counts) - counts
        num_bytes = int(pc.sum(pc.binary_length(texts)).as_py() or 0)
        self.tokens.write(ids, len(doc_ids), num_bytes)
        self.spans.write(
            pa.table(
                [doc_ids, pa.array(starts), pa.array(counts.astype(np.int32))], schema=SPANS.schema
            )
        )


def load_writer(config: Any, context: Context) -> PartFunction:
    """The function for making one part of `tokens` and `spans`."""
    tokenizer = load_tokenizer(context.store)
    settings: WriterConfig = config.writer
    suffix = f".{context.generation}" if context.generation else ""

    def write(index: int, pieces: Iterator[pa.Table], joins: Joins) -> Written:
        counts: Counter[str] = Counter()
        rows_read = 0
        file = f"part-{index:05}{suffix}.parquet"

        with ExitStack() as stack:
            writers = {
                split: stack.enter_context(_open(context, file, index, split, tokenizer, settings))
                for split in SPLITS
            }

            for piece in pieces:
                rows_read += piece.num_rows
                doc_ids, texts, num_pieces = kept_pieces(
                    piece, joins[VERDICTS.name], settings.seams
                )
                held_out = is_validation(doc_ids.to_pylist(), settings.val_frac)
                for split in SPLITS:
                    mask = held_out if split == "val" else ~held_out
                    if mask.any():
                        chosen = pa.array(mask)
                        writers[split].write(
                            doc_ids.filter(chosen),
                            texts.filter(pa.array(np.repeat(mask, num_pieces))),
                            num_pieces[mask],
                        )
                counts[NOT_KEPT] += piece.num_rows - len(doc_ids)
                context.report(piece.num_rows)

            parts = {
                SPANS.name: [writers[split].spans.finish() for split in SPLITS],
                TOKENS.name: [writers[split].tokens.finish() for split in SPLITS],
            }

        for split in SPLITS:
            counts[f"{split}_documents"] += writers[split].tokens.num_documents
            counts[f"tokens:{split}"] += writers[split].tokens.num_tokens

        return Written(parts=parts, rows_read=rows_read, counts=counts)

    return write


@contextmanager
def _open(
    context: Context,
    file: str,
    index: int,
    split: Split,
    tokenizer: Tokenizer,
    config: WriterConfig,
) -> Iterator[_SplitWriter]:
    name = f"{split}/{file}"
    with (
        context.store.open_output(f"{TOKENS.folder(context.batch)}/{name}") as stream,
        open_part(
            context.store, SPANS.folder(context.batch), name, SPANS, index, context.num_parts
        ) as spans,
    ):
        yield _SplitWriter(TokenWriter(stream, name, split, tokenizer, config), spans, tokenizer)


def kept_pieces(
    documents: pa.Table, verdicts: pa.Table, seams: Seams
) -> tuple[Any, Any, np.ndarray]:
    """Ids of the kept documents, their pieces after cuts, and the number of each.

    A document has at least one piece, an empty one if nothing is left.
    """
    doc_ids, texts, cuts = _kept(documents, verdicts)
    num_pieces = np.ones(len(doc_ids), np.int64)
    with_cuts = pc.fill_null(pc.greater(pc.list_value_length(cuts), 0), False)
    if not pc.any(with_cuts).as_py():
        return doc_ids, texts, num_pieces

    pieces: list[str] = []
    ranges = cuts.to_pylist()
    for place, text in enumerate(texts.to_pylist()):
        left = uncut_pieces(text, [(cut["start"], cut["end"]) for cut in ranges[place] or ()])
        if seams == "paragraphs":
            left = ["\n\n".join(piece.strip() for piece in left) if len(left) > 1 else left[0]]
        pieces += left
        num_pieces[place] = len(left)

    return doc_ids, pa.array(pieces, texts.type), num_pieces


def _kept(documents: pa.Table, verdicts: pa.Table) -> tuple[Any, Any, Any]:
    """Ids, texts and cuts of the kept documents.

    Raises: InputError for a document without a verdict.
    """
    doc_ids = documents["doc_id"].combine_chunks()
    rows = pc.index_in(doc_ids, value_set=verdicts["doc_id"].combine_chunks())
    if rows.null_count:
        first = doc_ids.filter(pc.is_null(rows))[0].as_py()
        raise InputError(
            f"{rows.null_count} documents without a verdict, first {first}; run `python -m "
            "dedup.run` again with --rebuild"
        )

    matched = verdicts.take(rows)
    kept = matched["kept"].combine_chunks()
    doc_ids = doc_ids.filter(kept)
    texts = documents["text"].combine_chunks().filter(kept)
    cuts = matched["cuts"].combine_chunks().filter(kept)

    return doc_ids, texts, cuts


def cut_text(text: str, cuts: list[tuple[int, int]]) -> str:
    """`text` without the half-open, ascending ranges of code points.

    Raises InputError for ranges outside it.
    """
    return "".join(uncut_pieces(text, cuts))


def uncut_pieces(text: str, cuts: list[tuple[int, int]]) -> list[str]:
    """The pieces of `text` between half-open, ascending ranges of code points; at least one.

    Raises InputError for ranges outside it.
    """
    pieces = []
    position = 0
    for start, end in cuts:
        if not position <= start <= end <= len(text):
            raise InputError(
                f"cuts {cuts} of a text of {len(text)} characters: not ascending ranges within it"
            )
        pieces.append(text[position:start])
        position = end
    pieces.append(text[position:])

    return [piece for piece in pieces if piece] or [""]


def tokenizer_input(config: Any, context: Context) -> list[Input]:
    """The pinned tokenizer, as an input: changing it changes the tokens."""
    return [
        Input(table="tokenizer", batch="", fingerprint=load_tokenizer(context.store).fingerprint)
    ]


STEP = Map(
    name="shards/tokens",
    reads=DOCUMENTS,
    columns=("doc_id", "text"),
    joins={VERDICTS: ("doc_id", "kept", "cuts")},
    writes=(TOKENS, SPANS),
    sections=("writer",),
    revision=2,
    depends=tokenizer_input,
    load_part=load_writer,
)
