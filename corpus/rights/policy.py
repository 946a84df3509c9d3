"""The policy of rights: per signal, if a "no" is obeyed or only recorded."""

from __future__ import annotations

from typing import Literal

from corpus.rights.statements import ADDRESSED_TO_ALL, Signal

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
