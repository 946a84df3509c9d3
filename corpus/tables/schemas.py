"""The tables between stages, as Arrow schemas. This is their one home; a change here is a change of
contract.

`doc_id` is 32 hex digits, the xxh3-128 of the page's `url_key`: the same from link to token. A row
lies in part `int(doc_id[:8], 16) * P >> 32` of a batch with P parts, so part i of every table
covers the same ids and the parts, taken in order, ascend by `doc_id`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the contract: its name, its columns, and the version for readers."""

    name: str
    schema: pa.Schema
    version: int = 1
    later_columns: tuple[str, ...] = ()
    """Nullable last columns that files of earlier versions lack; they are read as null."""
    scratch: bool = False
    """Lives below `work/<batch>/` and goes when its stage is done: candidate pairs, buckets."""

    @property
    def by_doc_id(self) -> bool:
        """True if parts are ranges of `doc_id` and rows ascend by it, each id once."""
        return self.schema.names[0] == "doc_id"

    def folder(self, batch: str) -> str:
        """The folder of one batch's parts and manifest."""
        return f"work/{batch}/{self.name}" if self.scratch else f"{self.name}/{batch}"


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


LINKS = Table(
    name="links",
    schema=pa.schema(
        [
            _required("doc_id", pa.string()),
            _required("url", pa.string()),
            _required("url_key", pa.string()),
            _required("domain", pa.string()),
            _required("score", pa.int32()),
            _required("score_sum", pa.int64()),
            _required("num_submissions", pa.int32()),
            _required("submission_id", pa.string()),
            _required("subreddit", pa.string()),
            _required("title", pa.string()),
            _required("created", pa.timestamp("s", tz="UTC")),
            _required("over_18", pa.bool_()),
        ]
    ),
)
PAGES = Table(
    name="pages",
    schema=pa.schema(
        [
            _required("doc_id", pa.string()),
            _required("url", pa.string()),
            pa.field("final_url", pa.string()),
            _required("redirects", pa.list_(pa.string())),
            pa.field("status", pa.int16()),
            pa.field("reason", pa.string()),
            _required("attempts", pa.int16()),
            pa.field("fetched_at", pa.timestamp("ms", tz="UTC")),
            pa.field("ip", pa.string()),
            pa.field("content_type", pa.string()),
            pa.field("body_bytes", pa.int64()),
            pa.field("payload_digest", pa.string()),
            pa.field("warc_file", pa.string()),
            pa.field("warc_offset", pa.int64()),
            pa.field("warc_length", pa.int64()),
            _required("truncated", pa.bool_()),
            pa.field("cause", pa.string()),
            pa.field("repairs", pa.list_(pa.string())),
            pa.field("capture", pa.string()),
            pa.field("captured_at", pa.timestamp("ms", tz="UTC")),
            pa.field("original_record_id", pa.string()),
        ]
    ),
    later_columns=("capture", "captured_at", "original_record_id"),
)
# One row per page that was asked about: what it says about training, and what proves it.
RIGHTS = Table(
    name="rights",
    schema=pa.schema(
        [
            _required("doc_id", pa.string()),
            _required("training", pa.string()),
            _required(
                "signals",
                pa.list_(
                    pa.struct(
                        [
                            ("signal", pa.string()),
                            ("value", pa.string()),
                            ("where", pa.string()),
                            ("says", pa.string()),
                        ]
                    )
                ),
            ),
            _required("evidence", pa.list_(pa.string())),
            _required("checked_at", pa.timestamp("s", tz="UTC")),
        ]
    ),
)
DOCUMENTS = Table(
    name="documents",
    version=2,
    schema=pa.schema(
        [
            _required("doc_id", pa.string()),
            _required("url", pa.string()),
            _required("domain", pa.string()),
            pa.field("title", pa.string()),
            _required("text", pa.string()),
            _required("language", pa.string()),
            _required("language_score", pa.float32()),
            _required("num_words", pa.int32()),
            pa.field("visible_words", pa.int32()),
            pa.field("published", pa.date32()),
            _required("extractor", pa.string()),
            _required("score", pa.int32()),
            _required("subreddit", pa.string()),
            pa.field("fetched_at", pa.timestamp("ms", tz="UTC")),
            pa.field("quality", pa.float32()),
        ]
    ),
    later_columns=("quality",),
)
DOCUMENTS_DROPPED = Table(
    name="documents_dropped",
    version=2,
    schema=pa.schema(
        [
            _required("doc_id", pa.string()),
            _required("url", pa.string()),
            _required("step", pa.string()),
            _required("reason", pa.string()),
            pa.field("detail", pa.string()),
        ]
    ),
)
# One row per document where `clean.marks` asks for it: what the page says about its use.
MARKS = Table(
    name="marks",
    schema=pa.schema(
        [
            _required("doc_id", pa.string()),
            _required("opt_outs", pa.list_(pa.string())),
            _required("licenses", pa.list_(pa.string())),
        ]
    ),
)

SIGNATURES = Table(
    name="signatures",
    schema=pa.schema(
        [
            _required("doc_id", pa.string()),
            _required("content_hash", pa.string()),
            _required("num_shingles", pa.int32()),
            _required("signature", pa.list_(pa.uint32())),
        ]
    ),
)
VERDICTS = Table(
    name="verdicts",
    schema=pa.schema(
        [
            _required("doc_id", pa.string()),
            _required("kept", pa.bool_()),
            pa.field("reason", pa.string()),
            pa.field("duplicate_of", pa.string()),
            pa.field("similarity", pa.float32()),
            _required("testsets", pa.list_(pa.string())),
            _required("overlap_ngrams", pa.int32()),
            _required("cuts", pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))),
        ]
    ),
)
# The index of survivors: the band keys of every kept document, sorted by (key, doc_id), in parts
# by range of key. Keys of different bands differ (the band's number is hashed in); one more key
# per document is its content hash.
BANDS = Table(
    name="bands",
    schema=pa.schema(
        [
            _required("key", pa.uint64()),
            _required("doc_id", pa.string()),
        ]
    ),
)

SPANS = Table(
    name="spans",
    schema=pa.schema(
        [
            _required("doc_id", pa.string()),
            _required("start", pa.int64()),
            _required("num_tokens", pa.int32()),
        ]
    ),
)


def tokens_schema(row_tokens: int, bytes_per_token: int) -> pa.Schema:
    """The one column of a token part: a row is `row_tokens` little-endian unsigned integers."""
    return pa.schema([_required("tokens", pa.binary(row_tokens * bytes_per_token))])


# The contract's default shape; a batch's own (`row_tokens`, bytes per token) is in its parts'
# metadata.
TOKENS = Table(name="tokens", schema=tokens_schema(1024, 2))

TABLES = {
    table.name: table
    for table in (
        LINKS,
        PAGES,
        RIGHTS,
        DOCUMENTS,
        DOCUMENTS_DROPPED,
        MARKS,
        SIGNATURES,
        VERDICTS,
        BANDS,
        TOKENS,
        SPANS,
    )
}


def part_of(doc_ids: pa.Array | pa.ChunkedArray, num_parts: int) -> np.ndarray:
    """The part of every `doc_id` in a batch of `num_parts` parts. Shape (n,) int64, range
    0..num_parts-1.
    """
    if len(doc_ids) == 0:
        return np.zeros(0, np.int64)
    prefix = np.array([int(doc_id[:8], 16) for doc_id in doc_ids.to_pylist()], np.uint64)
    return (prefix * np.uint64(num_parts) >> np.uint64(32)).astype(np.int64)


def part_of_id(doc_id: str, num_parts: int) -> int:
    """The part of one `doc_id`."""
    return int(doc_id[:8], 16) * num_parts >> 32
