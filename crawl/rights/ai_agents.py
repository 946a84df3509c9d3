"""Robots of AI training: the dated list, and their names in robots.txt. Pure.

A site disallowing `GPTBot` speaks to another robot, so this is recorded, and obeyed only if
`crawl.rights.policy` says so.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import NamedTuple


class AgentList(NamedTuple):
    """The list, by lower-case token."""

    date: str
    names: dict[str, str]


@cache
def agent_list() -> AgentList:
    """The list of `ai_agents.json`."""
    text = resources.files("crawl.rights").joinpath("ai_agents.json").read_text("utf-8")
    document = json.loads(text)
    return AgentList(document["date"], {name.lower(): name for name in document["agents"]})


def find_agent(value: str) -> str | None:
    """The listed token in a `User-agent` value such as `GPTBot/1.2 (+https://...)`; else None."""
    words = value.partition("/")[0].partition("(")[0].strip().lower()
    return words if words in agent_list().names else None
