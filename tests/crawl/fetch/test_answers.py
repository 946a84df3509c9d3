"""Meanings of answers as tables: pages, robots.txt and files about rights, with statuses at borders."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from crawl.fetch import answers
from crawl.fetch.answers import End, FileFound, Follow, Keep, PageTerms, Retry
from crawl.fetch.jobs import FileJob, Link, PageJob, RobotsJob, locate, redirect_target
from crawl.fetch.permission.rights_files import FileKey, FileKind
from crawl.fetch.permission.robots import Access, decide
from crawl.fetch.requests import FetchResult
from crawl.fetch.settings import FetchConfig, deadline_at, parse_endpoint
from crawl.outcomes import Reason

URL = "http://a.test/x"
TERMS = PageTerms(max_redirects=2, user_agent="webtext", refused_tags=("noai",))
REDIRECTS = {301, 302, 303, 307, 308}
PASSING = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}


def answer(status: int | None, *headers: tuple[str, str], **more: Any) -> FetchResult:
    fields = tuple((name.encode(), value.encode()) for name, value in headers)
    return FetchResult(URL, 1 << 20, status=status, headers=fields, **{"body": b"text", **more})


def page(status: int | None, *headers: tuple[str, str], redirects: int = 0, **more: Any) -> Any:
    job = PageJob(Link("1", URL), URL, tuple(f"{URL}{number}" for number in range(redirects)))
    return answers.judge_page(job, answer(status, *headers, **more), TERMS)


def test_statuses_of_pages_as_a_table() -> None:
    """RFC 9110: 200 and 203 are pages; what may pass is tried again, and the rest ends the link."""
    end = End(Reason.HTTP_STATUS)
    for status in range(100, 600):
        expected = end if status not in PASSING else Retry(end)
        if status in (200, 203):
            expected = Keep()
        if status in REDIRECTS:
            expected = End(Reason.REDIRECT_INVALID)
        assert page(status) == expected, status
        followed = page(status, ("location", "/y"))
        assert (followed == Follow("http://a.test/y")) is (status in REDIRECTS), status


@pytest.mark.parametrize(
    ("problem", "status", "body", "expected"),
    [
        (Reason.CONNECTION_LOST, 200, b"half", Retry(Keep("disconnect"))),
        (Reason.CONNECTION_LOST, 200, b"", Retry(End(Reason.CONNECTION_LOST))),
        (Reason.CONNECTION_LOST, 404, b"half", Retry(End(Reason.CONNECTION_LOST))),
        (Reason.CONNECTION_LOST, None, b"", Retry(End(Reason.CONNECTION_LOST))),
        (Reason.BAD_RESPONSE, 301, b"", End(Reason.BAD_RESPONSE)),
        (Reason.TIMEOUT, 200, b"half", Retry(End(Reason.TIMEOUT))),
        (None, 200, b"", End(Reason.EMPTY_BODY)),
        (None, None, b"", End(Reason.HTTP_STATUS)),
    ],
)
def test_an_answer_with_a_problem(
    problem: Reason | None, status: int | None, body: bytes, expected: object
) -> None:
    assert page(status, ("location", "/y"), problem=problem, body=body) == expected


def test_as_many_redirects_are_followed_as_may_be() -> None:
    place = ("location", "/y")
    assert page(301, place, redirects=1) == Follow("http://a.test/y")
    assert page(301, place, redirects=2) == End(Reason.REDIRECT_LIMIT)
    # The same address again: a loop, unless a cookie was set on the way, and then within the limit.
    for again in (URL, f"{URL}0"):
        cookie = ("set-cookie", "a=1")
        assert page(301, ("location", again), redirects=1) == End(Reason.REDIRECT_LOOP)
        assert page(301, ("location", again), cookie, redirects=1) == Follow(again)
        assert page(301, ("location", again), cookie, redirects=2) == End(Reason.REDIRECT_LOOP)


@pytest.mark.parametrize(
    ("seconds", "follows"), [("0", True), ("4", True), ("5", True), ("5.9", True), ("6", False)]
)
def test_a_page_that_leads_elsewhere_within_five_seconds_is_a_redirect(
    seconds: str, follows: bool
) -> None:
    value = f"{seconds}; url=/y"
    meta = f'<meta http-equiv="refresh" content="{value}">'.encode()
    expected = Follow("http://a.test/y") if follows else Keep()
    assert page(200, ("refresh", value)) == expected
    assert page(200, body=meta) == expected
    assert page(200, body=b'<base href="http://b.test/d/">' + meta) == (
        Follow("http://b.test/y") if follows else Keep()
    )
    # A page that leads to itself, or to no address, is kept.
    assert page(200, ("refresh", f"{seconds}; url=/x")) == Keep()
    assert page(200, ("refresh", f"{seconds}; url=mailto:a@b.test")) == Keep()


def test_a_refused_tag_ends_a_page() -> None:
    assert page(200, ("x-robots-tag", "noai")) == End(Reason.ROBOTS_TAG)
    assert page(200, ("x-robots-tag", "noindex"), truncated="length") == Keep("length")


def rules(status: int | None, *headers: tuple[str, str], redirects: int = 0, **more: Any) -> Any:
    job = RobotsJob("http://a.test:80", f"{URL}", tuple(map(str, range(redirects))))
    return answers.judge_robots(job, answer(status, *headers, **more), "webtext")


def test_statuses_of_robots_txt_as_a_table() -> None:
    """RFC 9309, section 2.3.1: 4xx is unavailable, and 5xx unreachable, as is 429 here."""
    for status in (
        *range(200, 205),
        *range(298, 310),
        *range(398, 405),
        *range(426, 432),
        *range(498, 506),
        599,
    ):
        found = rules(status)
        if status < 300:
            expected = Access.RULES
        elif status >= 500 or status == 429:
            expected = Access.UNREACHABLE
        else:
            expected = Access.UNAVAILABLE
        assert decide(status, b"", "webtext").access is expected, status
        assert found.rules.access is expected, status
        assert found.retry is (status >= 500 or status == 429), status
        if expected is Access.UNREACHABLE:
            assert found.rules.cause == f"status_{status}"
        # Five hops at least (section 2.3.1.2), and only for redirects with a place.
        for redirects in (0, 4, 5):
            followed = rules(status, ("location", "/y"), redirects=redirects)
            assert isinstance(followed, Follow) is (status in REDIRECTS and redirects < 5)


@pytest.mark.parametrize(
    ("status", "problem", "cause", "again"),
    [
        (None, None, "connection_lost", False),
        (None, Reason.TLS_FAILED, "tls_failed", False),
        (200, Reason.CONNECTION_LOST, "connection_lost", True),
        (301, Reason.TIMEOUT, "timeout", True),
        (503, Reason.BAD_RESPONSE, "bad_response", False),
        (501, None, "status_501", True),
    ],
)
def test_rules_that_cannot_be_read_forbid_everything(
    status: int | None, problem: Reason | None, cause: str, again: bool
) -> None:
    found = rules(status, ("location", "/y"), problem=problem)
    assert found.rules.access is Access.UNREACHABLE
    assert (found.rules.cause, found.retry) == (cause, again)


def test_a_part_of_robots_txt_counts_only_if_it_is_the_whole() -> None:
    for value, access in (("bytes 0-3/4", Access.RULES), ("bytes 0-2/4", Access.UNREACHABLE)):
        assert rules(206, ("content-range", value)).rules.access is access
        assert rules(200, ("content-range", value)).rules.access is Access.RULES


def file(status: int | None, *headers: tuple[str, str], redirects: int = 0, **more: Any) -> Any:
    key = FileKey(FileKind.TDMREP, "http://a.test/.well-known/tdmrep.json")
    job = FileJob(key, URL, tuple(map(str, range(redirects))))
    return answers.judge_file(job, answer(status, *headers, **more))


def test_statuses_of_files_about_rights_as_a_table() -> None:
    for status in (
        *range(198, 206),
        *range(298, 310),
        399,
        400,
        404,
        428,
        429,
        430,
        499,
        500,
        501,
        503,
        599,
    ):
        found = file(status)
        assert isinstance(found, FileFound)
        unread = status >= 500 or status == 429
        assert found.file.body == (b"text" if status in (200, 203) else None), status
        assert found.file.cause == (f"status_{status}" if unread else None), status
        assert found.retry is (status in PASSING and unread), status
        for redirects in (0, 4, 5):
            followed = file(status, ("location", "/y"), redirects=redirects)
            assert isinstance(followed, Follow) is (status in REDIRECTS and redirects < 5)
    assert file(200, truncated="length").file.cause == "too_long"
    assert file(200, problem=Reason.TIMEOUT).file.cause == "timeout"
    assert file(200, problem=Reason.TIMEOUT).retry
    assert file(None).file.cause == "connection_lost"


def test_the_site_of_an_address_as_a_table() -> None:
    for url, host, port, robots_url in (
        ("http://a.test/x", "a.test", 80, "http://a.test/robots.txt"),
        ("https://a.test/x", "a.test", 443, "https://a.test/robots.txt"),
        ("http://a.test:443/x", "a.test", 443, "http://a.test:443/robots.txt"),
        ("https://a.test:80/x", "a.test", 80, "https://a.test:80/robots.txt"),
        ("http://a.test:0/x", "a.test", 0, "http://a.test:0/robots.txt"),
        ("http://[::1]:8080/x", "::1", 8080, "http://[::1]:8080/robots.txt"),
    ):
        site = locate(url)
        assert site is not None
        assert (site.host, site.port, site.robots_url) == (host, port, robots_url)
    for url in ("ftp://a.test/", "http:///x", "http://a.test:65536/", "mailto:a@b.test", ""):
        assert locate(url) is None
    for place, expected in (
        ("y#z", "http://a.test/y"),
        ("//u:p@b.test", "http://b.test/"),
        (" ", None),
        ("ftp://b.test/", None),
    ):
        assert redirect_target(URL, place) == expected


def test_a_hop_within_the_domain_keeps_its_cookies_and_no_state_of_the_last() -> None:
    job = PageJob(
        Link("1", URL), URL, ("r",), num_tries=2, attempts=3, robots_waits=1, is_cleared=True
    )
    job.cookies = object()  # type: ignore[assignment]
    site = locate(URL)
    assert site is not None
    same, other = job.at(f"{URL}2", site.key), job.at("http://b.test/", "b.test")
    assert (same.cookies, other.cookies) == (job.cookies, None)
    for hop in (same, other):
        assert hop.redirects == ("r", URL)
        assert (hop.num_tries, hop.attempts, hop.robots_waits, hop.is_cleared) == (0, 3, 0, False)
    for each in (
        RobotsJob("o", "u", num_tries=2),
        FileJob(FileKey(FileKind.RSL, "u"), "u", num_tries=2),
    ):
        assert (each.at("v").num_tries, each.at("v").redirects) == (0, ("u",))


def test_a_deadline_lies_at_most_a_hundred_years_ahead() -> None:
    assert deadline_at("36600d", 5.0) == 5.0 + 36_600 * 86_400
    with pytest.raises(ValueError, match="expected 36h"):
        deadline_at("36600.1d", 5.0)
    for unit, seconds in (("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)):
        assert deadline_at(f"2{unit}", 5.0) == 5.0 + 2 * seconds
    assert deadline_at("1970-01-01T00:00", 5.0) == 0.0
    for text in ("1969-12-31T23:59", "9999-01-01T00:00", "2h ", "-2h", "2w"):
        with pytest.raises(ValueError, match="expected 36h"):
            deadline_at(text, 5.0)
    assert deadline_at("9998-12-31T23:59", 5.0) is not None
    assert deadline_at("", 5.0) is None


@pytest.mark.parametrize(("port", "is_one"), [(0, False), (1, True), (65535, True), (65536, False)])
def test_ports_are_those_of_tcp(port: int, is_one: bool) -> None:
    settings: list[dict[str, Any]] = [
        {"allow_ports": (port,)},
        {"proxy": f"[::1]:{port}"},
        {"connect_to": {"a.test": f"127.0.0.1:{port}"}},
    ]
    for each in settings:
        if is_one:
            FetchConfig(**each)
        else:
            with pytest.raises(ValueError, match=f"port {port}"):
                FetchConfig(**each)
    assert parse_endpoint("[::1]:80") == ("::1", 80)


def test_a_contact_is_needed_unless_only_this_machine_is_asked() -> None:
    for contact, networks in itertools.product(
        ("", "https://a.test/us"), ((), ("127.0.0.0/8",), ("127.0.0.0/8", "10.0.0.0/8"))
    ):
        config = FetchConfig(contact=contact, allow_networks=networks)
        assert config.only_loopback is (not contact and networks == ("127.0.0.0/8",))
    for token, is_one in (
        ("a", False),
        ("ab", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("a1", False),
    ):
        if is_one:
            assert FetchConfig(user_agent=token).user_agent_header == token
        else:
            with pytest.raises(ValueError, match="product token"):
                FetchConfig(user_agent=token)
