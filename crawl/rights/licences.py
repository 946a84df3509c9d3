"""Licences of a page by its own statement, and the ones granting training. Pure.

A licence counts as the page's own if its link is marked `rel=license` (HTML standard, 4.6.6.7).
Attribution and share-alike grant it: the corpus keeps each page's address. Limits to non-commercial
use or against derivatives depend on who trains and how, so they grant nothing here. Links without
the mark may be about a picture; they are recorded, and grant nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from corpus.rights.statements import Answer, Signal, Statement, statement

_CREATIVE_COMMONS = re.compile(
    r"creativecommons\.org/(?P<kind>licenses|licences|publicdomain)/(?P<name>[a-z][a-z+-]{1,20})"
    r"(?:/(?P<version>\d\.\d))?",
    re.IGNORECASE,
)
_GRANTING = frozenset({"by", "by-sa", "zero", "mark", "certification", "sa"})
# Other licences of texts, by a part of their address.
_OTHERS = {
    "gnu.org/licenses/fdl": "gfdl",
    "gnu.org/copyleft/fdl": "gfdl",
    "opensource.org/licenses/mit": "mit",
    "opensource.org/license/mit": "mit",
    "apache.org/licenses/license-2.0": "apache-2.0",
    "opendatacommons.org/licenses/by": "odc-by",
    "opendatacommons.org/licenses/pddl": "pddl",
    "opendatacommons.org/licenses/odbl": "odbl",
    "nationalarchives.gov.uk/doc/open-government-licence": "ogl",
    "artlibre.org/licence/lal": "free-art",
}


def licence_name(address: str) -> tuple[str, Answer] | None:
    """The short name of a known licence, such as `by-sa/4.0`, and if it grants training."""
    found = _CREATIVE_COMMONS.search(address)
    if found is not None:
        name = found["name"].lower()
        short = f"{name}/{found['version']}" if found["version"] else name
        return short, Answer.YES if name in _GRANTING else Answer.UNSAID

    lowered = address.lower()
    for part, name in _OTHERS.items():
        if part in lowered:
            return name, Answer.YES
    return None


def read_links(marked: Iterable[str], place: str, where: str) -> list[Statement]:
    """Statements of the links marked `rel=license`, each licence once."""
    names = dict.fromkeys(found for each in marked if (found := licence_name(each)) is not None)
    return [statement(Signal.LICENCE, name, place, where, said) for name, said in names]
