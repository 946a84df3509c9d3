"""The history of one page, as `webtext explain` finds it in the tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class TokenPosition:
    """The position of a page's tokens in a snapshot's files."""

    split: str
    path: str
    start: int
    num_tokens: int
    row_tokens: int
    row_group: int

    @property
    def rows(self) -> tuple[int, int]:
        """First and last Parquet row that hold some of them."""
        last = self.start + max(self.num_tokens, 1) - 1
        return self.start // self.row_tokens, last // self.row_tokens


@dataclass(slots=True)
class PageHistory:
    """Everything known to the corpus about one page."""

    asked: str
    doc_id: str | None
    batch: str | None = None
    refused: str | None = None
    """The rule that would have refused it, if any would."""
    doubt: str | None = None
    """The reason why the latest batch may have been built with other rules than today's."""
    taken_down: str | None = None
    link: dict[str, Any] | None = None
    page: dict[str, Any] | None = None
    document: dict[str, Any] | None = None
    dropped: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None
    survivor: dict[str, Any] | None = None
    """Of a duplicate: the batch and address of the page that stayed."""
    copies: list[dict[str, Any]] = field(default_factory=list)
    """Pages that were removed as duplicates of this one."""
    place: TokenPosition | None = None
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    next_command: str | None = None
    """The command to run before more is known."""
