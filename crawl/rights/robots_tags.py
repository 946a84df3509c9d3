"""`noai`, `noimageai`, `noml` and `noarchive` in `X-Robots-Tag` and meta elements. Pure.

`noai` and its kin keep a page out of training. `noarchive` is a signal of its own: Bing keeps such
pages out of its training (documented in 2023-09). A tag for another robot by name is recorded with
the robots of AI training, if that robot is one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from corpus.rights.statements import HEADER, META, Answer, Signal, Statement, statement
from crawl.rights.ai_agents import agent_list

REFUSALS = frozenset({"noai", "noimageai", "noml"})
NOARCHIVE = "noarchive"
HEADER_NAME = "X-Robots-Tag"
_ROBOT = re.compile(r"\*|[\w./-]+")
# Tags with a colon of their own.
_WITH_VALUE = frozenset(
    {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}
)
EVERYBODY = ("*", "robots", "")


def read_headers(values: Sequence[str], product_token: str) -> list[Statement]:
    """The statements of a response's `X-Robots-Tag` headers."""
    found: list[Statement] = []
    for value in values:
        for robot, tags in _by_robot(value):
            found += _statements(robot, tags, value, HEADER, HEADER_NAME, product_token)
    return found


def read_metas(metas: Iterable[tuple[str, str]], product_token: str) -> list[Statement]:
    """The statements of a page's meta elements, as (name in lower case, content)."""
    found: list[Statement] = []
    for name, content in metas:
        words = f"{name}: {content}"
        tags = [tag.strip().lower() for tag in re.split(r"[,\s]", content)]
        found += _statements(name, tags, words, META, name, product_token)
    return found


def _by_robot(value: str) -> Iterator[tuple[str, list[str]]]:
    """(robot, its tags) of a header's value; `robot:` begins the tags of another robot."""
    robot, tags = "*", list[str]()
    for part in value.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and _ROBOT.fullmatch(name.strip()) and name.strip() not in _WITH_VALUE:
            yield robot, tags
            robot, tags, part = name.strip(), [], rest
        tags += part.split()

    yield robot, tags


def _statements(
    robot: str, tags: Sequence[str], words: str, place: str, where: str, product_token: str
) -> Iterator[Statement]:
    said = {tag for tag in tags if tag in REFUSALS or tag == NOARCHIVE}
    if not said:
        return

    if robot in EVERYBODY or robot == product_token.lower():
        if said & REFUSALS:
            yield statement(Signal.ROBOTS_TAG, words, place, where, Answer.NO)
        if NOARCHIVE in said:
            yield statement(Signal.NOARCHIVE, words, place, where, Answer.NO)
    elif robot in agent_list().names:
        yield statement(Signal.AI_AGENTS, words, place, where, Answer.NO)
