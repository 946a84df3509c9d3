"""`Content-Signal`: search, ai-input and ai-train, in robots.txt and response headers. Pure.

Source: contentsignals.org and the Content Signals Policy of 2025-09. `ai-train` counts here: `yes`
grants it, `no` reserves it, and leaving it out neither grants nor restricts it. Other keys, such as
`use=reference`, are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from corpus.rights.statements import HEADER, Answer, Signal, Statement, statement

NAME = "Content-Signal"
TRAINING = "ai-train"
_PAIR = re.compile(r"\s*([^\s=,;]+)\s*=\s*([^\s=,;]+)\s*\Z")
_VALUES = {"yes": Answer.YES, "no": Answer.NO}


def training_signal(field: str) -> Answer:
    """The signal for training in a field such as `search=yes, ai-train=no`; "no" wins."""
    answers = set()
    for part in re.split("[,;]", field):
        found = _PAIR.match(part)
        if found is not None and found[1].lower() == TRAINING:
            answers.add(_VALUES.get(found[2].lower(), Answer.UNSAID))

    if Answer.NO in answers:
        return Answer.NO
    return Answer.YES if Answer.YES in answers else Answer.UNSAID


def read_headers(values: Sequence[str]) -> list[Statement]:
    """The statements of a response's `Content-Signal` headers."""
    return [
        statement(Signal.CONTENT_SIGNAL, value, HEADER, NAME, training_signal(value))
        for value in values
    ]


def split_rule(value: str) -> tuple[str, str] | None:
    """The path and the signals of a rule in robots.txt; without a path it applies to all."""
    if not value.startswith("/"):
        return ("", value) if value else None
    path, *rest = value.split(None, 1)
    return (path, rest[0]) if rest else None
