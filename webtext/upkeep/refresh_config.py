"""Settings of `webtext refresh`: the dumps to wait for, names, the summary and its hooks."""

from __future__ import annotations

import re
from string import Formatter

from pydantic import Field, field_validator

from corpus.config import Section
from corpus.durations import parse_duration
from corpus.storage.store import is_name


class RefreshConfig(Section):
    """Settings of a refresh."""

    common = frozenset(
        {
            "corpus",
            "dumps",
            "webhook",
        }
    )

    outside_corpus = frozenset({"corpus", "dumps", "webhook", "command", "heartbeat"})

    corpus: str = Field(min_length=1)
    """The corpus: a folder or URI. Required here or as --corpus."""
    dumps: str = Field(min_length=1)
    """Where dumps appear: a folder or URI whose last part is a pattern, such as /data/reddit/RS_*.zst."""
    batch: str = r"RS_(?:v2_)?(.+?)\."
    """Regular expression over a dump's file name; its first group names the batch (RS_2024-01.zst: 2024-01)."""
    snapshot: str = "{batch}"
    """Name of the snapshot after each batch; {batch} stands for the batch."""
    report: bool = True
    """Write the HTML report again after each batch."""
    retry_deferred: bool = False
    """Fetch with each new batch the pages that earlier ones left at their deadline (reason `deferred`)."""
    usual_factor: float = Field(default=2.0, gt=1)
    """A figure further from the median of earlier batches than this factor is a warning."""
    webhook: str = ""
    """An http(s) address that gets every event as JSON by POST: batch (with its summary),
    nothing_to_do, rights_not_checked, overdue, busy, stopped, failure."""
    command: str = ""
    """A command that gets the same on standard input. Its words are split like a shell's; no shell runs."""
    heartbeat: str = ""
    """An http(s) address requested after each healthy end. A dead man's switch raises the alarm when
    the requests stop."""
    expect_every: str = ""
    """A duration such as 35d. If no batch is younger, a refresh without work sends `overdue`."""

    rights_older_than: str = ""
    """A duration such as 180d. Each refresh then asks again for the rights of pages that were last
    asked longer ago, and takes down those that say no now (`webtext rights check --apply`)."""

    @field_validator("expect_every", "rights_older_than")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        if value:
            parse_duration(value)
        return value

    @field_validator("webhook", "heartbeat")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("expected an http:// or https:// address")
        return value

    @field_validator("snapshot")
    @classmethod
    def _is_template(cls, value: str) -> str:
        try:
            filled = [field[1:] for field in Formatter().parse(value) if field[1] is not None]
        except ValueError as error:
            raise ValueError(f"only {{batch}} can be filled in ({error})") from error
        if other := next((each for each in filled if each != ("batch", "", None)), None):
            raise ValueError(f"only {{batch}} can be filled in, as it is (not {other[0]!r} so)")
        if not filled:
            raise ValueError("expected {batch} in it: every batch has a snapshot of its own")
        if not is_name(value.format(batch="b")):
            raise ValueError("expected letters, digits and . _ - around {batch}, to be a name")
        return value

    @field_validator("batch")
    @classmethod
    def _has_one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"expected one group, found {groups}")
        return pattern
