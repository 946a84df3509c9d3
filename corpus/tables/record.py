"""Immutable JSON records, among them the ones that manifests and snapshots share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, PositiveInt


class Record(BaseModel):
    """A small immutable JSON record."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RowGroup(Record):
    """One row group of a token file: its place, its digest and the place of its tokens."""

    offset: NonNegativeInt
    """First byte of the row group in the file."""
    bytes: NonNegativeInt
    digest: str
    """xxh3-128 of those bytes."""
    rows: NonNegativeInt
    values_offset: NonNegativeInt | None
    """First byte of the tokens as one contiguous run; None if they are compressed."""


class TokenizerMark(BaseModel):
    """The tokenizer that encoded a token file."""

    fingerprint: str
    vocab_size: PositiveInt
    end_of_text: NonNegativeInt


class CommitDetails(BaseModel):
    """Known `details` of a manifest. Others are allowed, since nothing reads them."""

    model_config = ConfigDict(extra="allow", strict=True)

    rows_read: NonNegativeInt | None = None
    step: str = ""
    who: str = ""
    cpu_s: FiniteFloat = 0.0
    attempts: NonNegativeInt = 0


class TokenMetadata(BaseModel):
    """Metadata of a part of `tokens` in its manifest."""

    num_documents: NonNegativeInt
    num_tokens: NonNegativeInt
    """Without the padding of the last row."""
    num_bytes: NonNegativeInt
    """UTF-8 bytes of the documents' text as encoded."""
    row_tokens: PositiveInt
    dtype: Literal["uint16", "uint32"]
    content: str
    row_groups: list[RowGroup]
    tokenizer: TokenizerMark
