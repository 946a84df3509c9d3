"""The settings of captures, `[crawl.captures]`: the archives, and the choice of a capture."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from corpus.config import Section
from crawl.captures.choice import Policy


class CapturesConfig(Section):
    """Archives for dead links, and the choice of a capture."""

    # They name files of this machine and hosts to ask.
    outside_corpus = frozenset({"indexes", "records", "replay"})

    indexes: tuple[str, ...] = ()
    """Indexes of captures, the first with a fitting one wins: the address of a CDX server,
    `columnar:` and a Parquet file or folder, or a CDXJ, WARC or WACZ file.
    """
    records: str = ""
    """Prefix of the files named by the indexes: http(s), a path, or a URI such as s3://bucket/."""
    replay: str = ""
    """Replay of raw content with `{timestamp}` and `{url}`, for indexes without names of files."""
    policy: Policy = "nearest"
    """Captures nearest to the submission, or only those before or after it."""
    window_days: int = Field(default=730, ge=0, le=36_525)
    """Most days between a submission and a capture."""

    @property
    def window(self) -> timedelta:
        """`window_days` as a span of time."""
        return timedelta(days=self.window_days)
