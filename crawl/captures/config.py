"""The settings of captures, `[crawl.captures]`: the archives, and the choice of a capture."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from corpus.config import Section
from crawl.captures.choice import Policy


class CapturesConfig(Section):
    """Archives that dead links are looked up in, and the captures that may stand for a page."""

    # They name files of this machine and hosts that are asked.
    outside_corpus = frozenset({"indexes", "records", "replay"})

    indexes: tuple[str, ...] = ()
    """Indexes of captures, the first with a fitting one wins: the address of a CDX server,
    `columnar:` and a Parquet file or folder, or a CDXJ, WARC or WACZ file.
    """
    records: str = ""
    """Prefix of the files that the indexes name: http(s), a path, or a URI such as s3://bucket/."""
    replay: str = ""
    """Replay of raw content with `{timestamp}` and `{url}`, for indexes that name no file."""
    policy: Policy = "nearest"
    """Captures nearest to the submission, or only those before or after it."""
    window_days: int = Field(default=730, ge=0, le=36_525)
    """Most days between a submission and a capture."""

    @property
    def window(self) -> timedelta:
        """`window_days` as a span of time."""
        return timedelta(days=self.window_days)
