"""TDMRep: `tdm-reservation` and `tdm-policy` in headers, meta elements and a file of the site. Pure.

Source: TDM Reservation Protocol, W3C Community Group final report of 2024-05-10. A value of 1
reserves the rights, 0 does not reserve them; any other value is an error and counts as not set. In
the file, the first rule in sequence with a matching location decides. A page's element overrides
its header, and the header overrides the file (`corpus.rights.statements`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from corpus.rights.statements import FILE, Answer, Signal, Statement, statement
from crawl.fetch.permission.robots import path_matches, rule_pattern, url_path

PATH = "/.well-known/tdmrep.json"
RESERVATION = "tdm-reservation"
POLICY = "tdm-policy"
_VALUES = {"1": Answer.NO, "0": Answer.YES}


def reservation(value: str) -> Answer:
    """The meaning of a `tdm-reservation` value."""
    return _VALUES.get(value.strip(), Answer.UNSAID)


def read_fields(
    reservations: Sequence[str], policies: Sequence[str], place: str
) -> list[Statement]:
    """Statements of headers or meta elements; a policy's address is kept with them."""
    policy = f"; {POLICY}: {policies[0]}" if policies else ""
    return [
        statement(
            Signal.TDMREP, f"{RESERVATION}: {value}{policy}", place, RESERVATION, reservation(value)
        )
        for value in reservations
    ]


def parse_rules(body: bytes) -> list[tuple[str, Any, str | None]] | None:
    """(location, reservation, policy) of a site's tdmrep.json; None if it is no such file."""
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict):
        document = [document]
    if not isinstance(document, list):
        return None

    rules = []
    for rule in document:
        if isinstance(rule, dict) and isinstance(rule.get("location"), str):
            policy = rule.get(POLICY)
            rules.append(
                (
                    rule["location"],
                    rule.get(RESERVATION),
                    policy if isinstance(policy, str) else None,
                )
            )

    return rules


def read_file(body: bytes, file_url: str, page_url: str) -> list[Statement]:
    """The statement of a site's tdmrep.json about a page; none if no rule matches."""
    path = url_path(page_url)
    for location, value, policy in parse_rules(body) or ():
        pattern = rule_pattern(location)
        if not pattern or not path_matches(pattern, path):
            continue

        said = reservation(str(value)) if _is_value(value) else Answer.UNSAID
        rule = {"location": location, RESERVATION: value}
        words = json.dumps({**rule, POLICY: policy} if policy else rule)
        return [statement(Signal.TDMREP, words, FILE, file_url, said)]

    return []


def _is_value(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)
