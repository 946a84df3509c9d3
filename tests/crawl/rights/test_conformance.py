"""Conformance cases of the signals, as data: the drafts' own examples, edge cases and conflicts."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from protego import Protego

from corpus.rights.statements import Answer, Signal, Statement, answer, by_signal, refusals
from crawl.fetch.permission import robots
from crawl.rights import content_signal, content_usage, rsl, tdmrep
from crawl.rights.page import read_response
from crawl.rights.robots_file import licence_urls, read_robots
from tests.crawl.fetch.permission.test_robots import real_files

CASES = Path(__file__).with_name("cases")
ORIGIN = "https://h.test"


def cases(name: str) -> list[Any]:
    found: list[Any] = json.loads((CASES / f"{name}.json").read_text("utf-8"))
    return found


def said(statements: list[Statement]) -> dict[str, str]:
    return {signal.value: each.value for signal, each in by_signal(statements, Signal).items()}


def test_there_are_more_than_two_hundred_cases() -> None:
    assert sum(len(json.loads(path.read_text("utf-8"))) for path in CASES.glob("*.json")) > 300


@pytest.mark.parametrize(("field", "expected", "note"), cases("dictionaries"))
def test_a_dictionary_states_what_the_vocabulary_says(field: str, expected: str, note: str) -> None:
    assert content_usage.training_preference(field) == expected, note


@pytest.mark.parametrize(("field", "expected", "note"), cases("signals"))
def test_a_content_signal_states_training(field: str, expected: str, note: str) -> None:
    assert content_signal.training_signal(field) == expected, note


@pytest.mark.parametrize("case", cases("robots"), ids=lambda case: case["note"])
def test_a_robots_file_states_what_applies_to_the_page(case: dict[str, Any]) -> None:
    rules = robots.parse(case["robots"].encode(), case.get("agent", "webtext"))
    url = ORIGIN + case["path"]
    assert said(read_robots(rules, url, f"{ORIGIN}/robots.txt")) == case["says"]
    if "licences" in case:
        assert licence_urls(rules, f"{ORIGIN}/robots.txt") == case["licences"]
    if "crawl" in case:
        assert rules.allows(url) is case["crawl"]


@pytest.mark.parametrize("case", cases("rsl"), ids=lambda case: case["note"])
def test_an_rsl_document_says_what_its_licences_permit(case: dict[str, Any]) -> None:
    url = ORIGIN + case.get("path", "/a")
    embedded = case.get("embedded", False)
    found = rsl.read_document(
        case["xml"].encode(), url, place="file", where="l.xml", embedded=embedded
    )
    assert said(found).get("rsl") == case["says"]


@pytest.mark.parametrize("case", cases("pages"), ids=lambda case: case["note"])
def test_a_response_says_what_its_headers_and_elements_say(case: dict[str, Any]) -> None:
    headers = [(name.encode(), value.encode()) for name, value in case.get("headers", [])]
    found = read_response(headers, case.get("html", "").encode(), f"{ORIGIN}/a", "webtext")
    assert said(found.statements) == case["says"]
    if "licences" in case:
        assert [url for url, _ in found.licence_urls] == case["licences"]


@pytest.mark.parametrize("case", cases("tdmrep"), ids=lambda case: case["note"])
def test_a_tdmrep_file_says_what_its_first_matching_rule_says(case: dict[str, Any]) -> None:
    found = tdmrep.read_file(case["file"].encode(), ORIGIN + tdmrep.PATH, ORIGIN + case["path"])
    assert said(found).get("tdmrep") == case["says"]


@pytest.mark.parametrize("case", cases("answers"), ids=lambda case: case["note"])
def test_statements_combine_to_one_answer(case: dict[str, Any]) -> None:
    statements = [
        Statement(Signal(signal), "", place, "", Answer(says))
        for signal, place, says in case["said"]
    ]
    assert answer(statements) == case["answer"]


def test_a_recorded_signal_refuses_only_where_it_is_obeyed() -> None:
    said_no = [Statement(Signal.AI_AGENTS, "", "file", "", Answer.NO)]
    assert refusals(said_no, {Signal.RSL}) == []
    assert refusals(said_no, {Signal.AI_AGENTS}) == [Signal.AI_AGENTS]


@pytest.mark.parametrize("before", ["", "<head>", "<head></head><body>", "<BODY><meta name=a>"])
@pytest.mark.parametrize("filling", [0, 200, 300, 3000, 100_000])
@pytest.mark.parametrize(
    "element",
    [
        "<META name=robots content=noai>",
        "<a rel = 'license' href=//creativecommons.org/licenses/by/4.0/>",
    ],
)
def test_an_element_counts_wherever_it_is(before: str, filling: int, element: str) -> None:
    body = f"{before}<p>{'license words ' * (filling // 14)}</p>{element}<p>more".encode()
    assert read_response([], body, f"{ORIGIN}/a", "webtext").statements
    nothing = body.replace(element.encode(), b"")
    assert not read_response([], nothing, f"{ORIGIN}/a", "webtext").statements


def test_a_page_in_utf_16_is_read() -> None:
    body = "\ufeff<meta name=robots content=noai>".encode("utf-16-le")
    assert said(read_response([], body, f"{ORIGIN}/a", "webtext").statements) == {
        "robots_tag": "no"
    }


@pytest.mark.parametrize(
    "piece", [b"<!--", b"<meta ", b'<meta name="', b"<script", b"<a rel=license "]
)
def test_hostile_pages_take_linear_time(piece: bytes) -> None:
    body = b"noai license" + piece * (1 << 18)
    began = time.process_time()
    read_response([], body, f"{ORIGIN}/a", "webtext")
    assert time.process_time() - began < 5, "the square of a megabyte takes hours"


@pytest.mark.parametrize("lines", ["Content-Usage: /a train-ai=n\n", "License: https://a/{}\n"])
def test_a_hostile_robots_file_fills_no_memory(lines: str) -> None:
    body = "User-agent: *\n" + "".join(lines.replace("{}", str(n)) for n in range(20_000))
    assert len(robots.parse(body.encode(), "webtext").rights) <= robots.MAX_RIGHTS_CHARS


def test_real_robots_files_disallow_the_robots_that_protego_finds(shared: Path) -> None:
    """On real files, the robots of training that may not have the front page are Protego's."""
    names = ("GPTBot", "CCBot", "omgili", "omgilibot", "Diffbot", "YouBot")
    num_refused = 0
    files = real_files(shared / "robots/robots.tar.zst")
    for body in [each for each in files if re.search(rb"(?i)ccbot|omgili|diffbot", each)]:
        text = body.decode("utf-8", "replace")
        rules = robots.parse(body, "webtext")
        found = [
            each.value
            for each in read_robots(rules, f"{ORIGIN}/", f"{ORIGIN}/robots.txt")
            if each.signal is Signal.AI_AGENTS
        ]
        theirs = Protego.parse(text)
        for name in names:
            agent = rf"(?im)^\s*user-?agent\s*:\s*{name}(/[\d.]+)?\s*(#.*)?$"
            found_agent = re.search(agent, text)
            # After a crawl delay more agents may follow (RFC 9309, 2.2.4); Protego ends the group.
            if found_agent and text[found_agent.end() :].lstrip().lower().startswith("crawl-delay"):
                continue
            # Protego does not find a robot whose name has a version.
            if found_agent and found_agent[1]:
                continue
            named = found_agent is not None
            refused = named and not theirs.can_fetch(f"{ORIGIN}/", name)
            assert any(name in re.split("[ ,]+", words) for words in found) == refused, (
                name,
                text[:500],
            )
            num_refused += refused

    assert num_refused > 20
