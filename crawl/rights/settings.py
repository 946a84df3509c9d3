"""The settings of rights, `[crawl.rights]` and `[clean.rights]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from corpus.config import Section
from crawl.rights.statements import ADDRESSED_TO_ALL, Signal

Choice = Literal["obey", "record"]
# Signals that address everybody are obeyed; those that name other robots, and `noarchive`, are not.
DEFAULT_POLICY: dict[Signal, Choice] = {
    signal: "obey" if signal in ADDRESSED_TO_ALL else "record"
    for signal in Signal
    if signal is not Signal.LICENCE
}
PolicySignal = Literal[
    "content_usage",
    "content_signal",
    "rsl",
    "tdmrep",
    "robots_tag",
    "noarchive",
    "ai_agents",
]


def obeyed_signals(policy: Choice | dict[PolicySignal, Choice]) -> frozenset[Signal]:
    """The signals whose "no" is obeyed."""
    if isinstance(policy, str):
        return frozenset(DEFAULT_POLICY) if policy == "obey" else frozenset()
    given = {Signal(name): choice for name, choice in policy.items()}
    choices = {**DEFAULT_POLICY, **given}
    return frozenset(signal for signal, choice in choices.items() if choice == "obey")


class CleanRightsConfig(Section):
    """Settings of what clean does with pages that say "no" to training."""

    policy: Choice | dict[PolicySignal, Choice] = Field(default_factory=dict)
    """As `crawl.rights.policy`, for pages that were stored all the same: `obey` drops them as
    `training_opt_out`.
    """

    @property
    def obeyed(self) -> frozenset[Signal]:
        """The signals whose "no" is obeyed."""
        return obeyed_signals(self.policy)


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
