"""The settings of rights in the crawl, `[crawl.rights]`."""

from __future__ import annotations

from pydantic import Field

from corpus.config import Section
from corpus.rights.policy import Choice, PolicySignal, obeyed_signals
from corpus.rights.statements import Signal


class RightsConfig(Section):
    """Settings of the statements of sites and pages about training."""

    policy: Choice | dict[PolicySignal, Choice] = Field(default_factory=dict)
    """`obey` or `record` per signal: content_usage, content_signal, rsl, tdmrep, robots_tag (obeyed
    unless set), noarchive, ai_agents (recorded unless set). One word is for all.
    """
    tdmrep_file: bool = True
    """Ask each site for /.well-known/tdmrep.json, once in `crawl.fetch.robots_cache_s`."""
    licence_documents: bool = True
    """Fetch the RSL documents that robots.txt and pages name."""

    @property
    def obeyed(self) -> frozenset[Signal]:
        """The signals whose "no" is obeyed."""
        return obeyed_signals(self.policy)
