"""Immutable JSON records, among them the ones that manifests and snapshots share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt


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


class _KnownSettings(BaseModel):
    """Settings of a manifest that are read again. Others are allowed: they are compared alone."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Shingles(_KnownSettings):
    n: Annotated[int, Field(ge=1, le=64)] = 1


class _Minhash(_KnownSettings):
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0


class _Passages(_KnownSettings):
    min_words: NonNegativeInt = 0
    anywhere: bool = False


class _Overlap(_KnownSettings):
    measure_n: list[PositiveInt] = []


class _Writer(_KnownSettings):
    val_frac: Annotated[float, Field(ge=0, le=1)] | None = None


class _Links(_KnownSettings):
    carry_over: bool = False


class _Fetch(_KnownSettings):
    shards: NonNegativeInt = 0
    rights: list[str] | None = None


class _Personal(_KnownSettings):
    replace: bool = False


class CommitSettings(_KnownSettings):
    """Known settings in the `config` of a manifest: those that later commands read from it."""

    links: _Links = _Links()
    fetch_identity: _Fetch = _Fetch()
    personal: _Personal = _Personal()
    shingles: _Shingles = _Shingles()
    minhash: _Minhash = _Minhash()
    threshold: Annotated[float, Field(ge=0, le=1)] = 1.0
    against: list[str] = []
    passages: _Passages = _Passages()
    overlap: _Overlap = _Overlap()
    writer: _Writer = _Writer()


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
