"""`Content-Usage`: preferences of the IETF's AIPREF group, in headers and rules of robots.txt. Pure.

Sources: draft-ietf-aipref-vocab (section "Exemplary Serialization Format") and
draft-ietf-aipref-attach, editors' copies of 2026-08. The relevant category is `train-ai`. Unknown
labels and parameters are ignored, values other than the tokens `y` and `n` mean nothing, and an
unparsable field states nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from corpus.rights.statements import HEADER, Answer, Signal, Statement, statement
from crawl.rights.structured_fields import Token, parse_dictionary

TRAINING = "train-ai"
NAME = "Content-Usage"
_PREFERENCES = {"y": Answer.YES, "n": Answer.NO}


@lru_cache(maxsize=4096)
def training_preference(field: str) -> Answer:
    """The preference for training in a dictionary such as `train-ai=n, search=y`."""
    try:
        value = parse_dictionary(field).get(TRAINING)
    except ValueError:
        return Answer.UNSAID
    return _PREFERENCES.get(value, Answer.UNSAID) if isinstance(value, Token) else Answer.UNSAID


def read_headers(values: Sequence[str]) -> list[Statement]:
    """The statement of a response's `Content-Usage` headers, read as one field."""
    if not values:
        return []
    # RFC 9651, section 4.2: the lines of a field are joined before they are parsed.
    field = ", ".join(values)
    return [statement(Signal.CONTENT_USAGE, field, HEADER, NAME, training_preference(field))]


def split_rule(value: str) -> tuple[str, str] | None:
    """The path and the preference of a rule in robots.txt; None for one without a preference.

    Earlier drafts allowed rules without a path, and sites use them: they apply to all paths.
    """
    if not value.startswith("/"):
        if value.startswith("*") and training_preference(value) is Answer.UNSAID:
            path, _, preference = value.partition(" ")
            return (path, preference.strip()) if preference.strip() else None
        return ("", value) if value else None

    path, *rest = value.split(None, 1)
    return (path, rest[0]) if rest else None
