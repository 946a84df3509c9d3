"""Statements about training, and the one answer they give together. Pure.

A statement is one signal in one place, in its exact words. Statements of the same signal are
combined by the rules of that signal. Then "no" wins over "yes", a grant wins over silence, and
contradicting signals are a conflict, to be treated as "no".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import NamedTuple


class Answer(StrEnum):
    """The answer to the question if a page may be used to train."""

    YES = "yes"
    NO = "no"
    UNSAID = "unsaid"
    CONFLICT = "conflict"
    UNREADABLE = "unreadable"
    """Of a statement only: the file is there but could not be read (5xx, network)."""


class Signal(StrEnum):
    """The ways of saying it that are read. The values are the keys of `crawl.rights.policy`."""

    CONTENT_USAGE = "content_usage"
    CONTENT_SIGNAL = "content_signal"
    RSL = "rsl"
    TDMREP = "tdmrep"
    ROBOTS_TAG = "robots_tag"
    """`noai`, `noimageai` and `noml`."""
    NOARCHIVE = "noarchive"
    """`noarchive`, which Bing documents as "not for training"."""
    AI_AGENTS = "ai_agents"
    """Rules for robots that stand for AI training."""
    LICENCE = "licence"
    """A licence that the page names for itself."""


# Signals that address everybody. The others address somebody else, or Bing.
ADDRESSED_TO_ALL = frozenset(Signal) - {Signal.NOARCHIVE, Signal.AI_AGENTS}

# Places of a statement, most specific first: the order of precedence within TDMRep.
INLINE = "inline"
META = "meta"
LINK = "link"
HEADER = "header"
FILE = "file"
_TDMREP_ORDER = (META, HEADER, FILE)


class Statement(NamedTuple):
    """The statement of one signal in one place."""

    signal: Signal
    value: str
    """The exact words."""
    place: str
    """`meta`, `header`, `file`, ...: the kind of place."""
    where: str
    """The address of the file, or the name of the header or element."""
    says: Answer


# Characters of the exact words that are kept.
MAX_WORDS = 500


def statement(signal: Signal, value: str, place: str, where: str, says: Answer) -> Statement:
    """A statement with its words cut to a bounded length."""
    words = " ".join(value.split())
    return Statement(signal, words[:MAX_WORDS], place, where[:MAX_WORDS], says)


def answer(
    statements: Iterable[Statement], counted: Collection[Signal] = ADDRESSED_TO_ALL
) -> Answer:
    """The answer that follows from the statements of the `counted` signals."""
    said = {each for each in by_signal(statements, counted).values() if each in _DECIDED}
    if len(said) > 1:
        return Answer.CONFLICT
    return said.pop() if said else Answer.UNSAID


def refusals(statements: Iterable[Statement], obeyed: Collection[Signal]) -> list[Signal]:
    """The obeyed signals that say "no", in the order of `Signal`."""
    answers = by_signal(statements, obeyed)
    return [signal for signal in Signal if answers.get(signal) is Answer.NO]


def by_signal(statements: Iterable[Statement], counted: Collection[Signal]) -> dict[Signal, Answer]:
    """The answer of each counted signal that is there."""
    grouped: dict[Signal, list[Statement]] = {}
    for each in statements:
        if each.signal in counted:
            grouped.setdefault(each.signal, []).append(each)

    return {signal: _combined(signal, said) for signal, said in grouped.items()}


_DECIDED = (Answer.YES, Answer.NO)


def _combined(signal: Signal, said: list[Statement]) -> Answer:
    if signal is Signal.TDMREP:
        # TDMRep, final report of 2024-05-10: a page's own element overrides its header, which
        # overrides the file of the site.
        for place in _TDMREP_ORDER:
            answers = {each.says for each in said if each.place == place}
            for decided in (Answer.NO, Answer.YES):
                if decided in answers:
                    return decided

        return _most_restrictive({each.says for each in said})

    return _most_restrictive({each.says for each in said})


def _most_restrictive(answers: set[Answer]) -> Answer:
    """AIPREF vocabulary, section "Combining Preferences": any "no" decides, then any "yes"."""
    for decided in (Answer.NO, Answer.YES, Answer.UNREADABLE):
        if decided in answers:
            return decided
    return Answer.UNSAID
