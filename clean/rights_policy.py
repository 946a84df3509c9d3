"""The settings of rights in clean, `[clean.rights]`."""

from __future__ import annotations

from pydantic import Field

from corpus.config import Section
from corpus.rights.policy import Choice, PolicySignal, obeyed_signals
from corpus.rights.statements import Signal


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
