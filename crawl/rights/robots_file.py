"""The signals of a robots.txt about one page. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from corpus.rights.statements import FILE, Answer, Signal, Statement, statement
from crawl.fetch.permission.robots import (
    AGENTS,
    LICENSE,
    SIGNAL,
    USAGE,
    Robots,
    path_matches,
    rule_pattern,
    url_path,
)
from crawl.rights import content_signal, content_usage
from crawl.rights.ai_agents import agent_list

_SplitRule = Callable[[str], tuple[str, str] | None]


class _Rule(NamedTuple):
    pattern: str
    preference: str
    line: str


def read_robots(robots: Robots, page_url: str, robots_url: str) -> list[Statement]:
    """The statements of a site's robots.txt about a page. Licences are named by `licence_urls`."""
    if not robots.rights:
        return []

    path = url_path(page_url)
    usages, signals, agents = [], [], _Agents()
    for line in robots.rights.split("\n"):
        kind, text = line[0], line[1:]
        if kind == USAGE:
            usages.append(text)
        elif kind == SIGNAL:
            signals.append(text)
        elif kind == AGENTS:
            agents.begin(text)
        elif kind in "+-":
            agents.rule(line, path)

    found = [
        statement(Signal.CONTENT_USAGE, rule.line, FILE, robots_url, said)
        for rule in _longest(usages, content_usage.split_rule, path)
        for said in (content_usage.training_preference(rule.preference),)
    ]
    found += [
        statement(Signal.CONTENT_SIGNAL, rule.line, FILE, robots_url, said)
        for rule in _longest(signals, content_signal.split_rule, path)
        for said in (content_signal.training_signal(rule.preference),)
    ]
    if agents.refused:
        words = f"Disallow for {', '.join(sorted(agents.refused, key=str.lower))}"
        found.append(statement(Signal.AI_AGENTS, words, FILE, robots_url, Answer.NO))

    return found


def licence_urls(robots: Robots, robots_url: str) -> list[str]:
    """Addresses of the licences named for us by a robots.txt, each once."""
    urls = []
    for line in robots.rights.split("\n"):
        if line.startswith(LICENSE):
            url = _absolute(robots_url, line[1:])
            if url is not None:
                urls.append(url)
    return list(dict.fromkeys(urls))


def _absolute(base: str, reference: str) -> str | None:
    try:
        url = urljoin(base, reference.split()[0])
        parts = urlsplit(url)
    except (ValueError, IndexError):
        return None
    return url if parts.scheme in ("http", "https") and parts.hostname else None


def _longest(lines: list[str], split: _SplitRule, path: str) -> list[_Rule]:
    """The rules with the longest matching path: all of them, if several are as long.

    AIPREF attachment, section "Content-Usage Rule Semantics": of equal paths each rule applies.
    """
    matching = []
    for line in lines:
        parts = split(line)
        if parts is None:
            continue
        pattern = rule_pattern(parts[0])
        if parts[0] and (not pattern or not path_matches(pattern, path)):
            continue
        matching.append(_Rule(pattern, parts[1], line))

    longest = max((len(rule.pattern) for rule in matching), default=0)
    return [rule for rule in matching if len(rule.pattern) == longest]


class _Agents:
    """Robots of AI training with a group disallowing the page."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self._names: list[str] = []
        self._open = False

    def begin(self, names: str) -> None:
        self._names = [agent_list().names[name] for name in names.split(",")]
        self._open = True

    def rule(self, line: str, path: str) -> None:
        """Take the rules of the named robots in order: the first match decides."""
        if self._open and path_matches(line[1:], path):
            self._open = False
            if line[0] == "-":
                self.refused += self._names
