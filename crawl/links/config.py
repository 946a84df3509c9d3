"""Settings for selecting submissions: karma, block lists, and the handling of broken dumps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from corpus.config import Section
from corpus.errors import ConfigError
from crawl.rules import Preset, Rules, read_hosts, read_subreddits


class LinksConfig(Section):
    """Settings for selecting submissions."""

    outside_identity = frozenset(
        (
            "allow_truncated",
            "allow_immature_scores",
            "carry_over",
            "allowed_hosts_file",
            "blocked_hosts_file",
            "blocked_subreddits_file",
        )
    )
    """Fields that do not affect the output, or are covered by inputs: the files of lists
    by `rules`, the pages carried over by the `pages` of earlier batches."""

    preset: Preset = Preset.WEBTEXT
    """Hosts and file types to skip: webtext (the GPT-2 paper's), openwebtext or openwebtext2 (the clones' lists)."""
    karma_rule: Literal["webtext", "openwebtext2"] = "webtext"
    """webtext: each submission needs min_score; openwebtext2: the sum of a page's submissions does.
    """
    min_score: int = Field(default=3, ge=0)
    """Karma that admits a link; 3 in the GPT-2 paper."""
    crosspost_score: Literal["max", "own"] = "max"
    """Under the webtext rule a crosspost counts with the higher of its own and its parent's score, or its own."""
    over_18: Literal["drop", "keep"] = "drop"
    """Submissions marked not safe for work.

    WebText blocked such subreddits by a list that is not published.
    """
    removed: Literal["keep", "drop"] = "keep"
    """Submissions removed or deleted later; known since 2019-09, so WebText could not tell."""
    allowed_hosts_file: str = ""
    """File of the only hosts to keep, one a line, each with all below it; all by default."""
    blocked_hosts_file: str = ""
    """File of hosts to skip, one a line, each with all below it; none by default."""
    blocked_subreddits_file: str = ""
    """File of subreddits to skip, one a line; none by default."""
    max_url_chars: int = Field(default=4096, ge=64)
    """Longest URL; dumps have some of 500,000 characters."""
    allow_truncated: bool = False
    """Continue with the readable rows of a truncated dump."""
    allow_immature_scores: bool = False
    """Continue although the scores of a dump were taken too early."""
    retry_failed: bool = False
    """Link pages again whose fetch failed in an earlier batch for a passing reason, or ended at a
    bot wall or a consent wall.
    """
    carry_over: bool = False
    """Add the pages that earlier batches left at their deadline, with the karma they had."""
    num_parts: int = Field(default=0, ge=0)
    """Parts of the batch's tables; 0: by the size of the dumps."""

    def without_effect(self) -> dict[str, str]:
        """The score of crossposts, unless submissions count one by one."""
        if self.karma_rule == "webtext":
            return {}
        return {"crosspost_score": f"crawl.links.karma_rule = {self.karma_rule!r} adds up scores"}

    def rules(self) -> Rules:
        """The preset with the user's lists, read here.

        Raises: ConfigError for a bad list.
        """
        allowed = read_hosts(self.allowed_hosts_file) if self.allowed_hosts_file else ()
        blocked = read_hosts(self.blocked_hosts_file) if self.blocked_hosts_file else ()
        subreddits = (
            read_subreddits(self.blocked_subreddits_file) if self.blocked_subreddits_file else ()
        )
        if self.allowed_hosts_file and not allowed:
            raise ConfigError(
                f"crawl.links.allowed_hosts_file {self.allowed_hosts_file}: no host in it, so no "
                "link could stay; write one per line, as example.com"
            )
        return Rules(self.preset, blocked, subreddits, allowed)
