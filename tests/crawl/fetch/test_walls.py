"""Bot walls are counted while a crawl runs, and a rising share is a warning."""

from __future__ import annotations

import pytest

from crawl.fetch.progress import merge
from crawl.fetch.requests import FetchResult
from crawl.fetch.walls import WINDOW, WallCounter, warning
from crawl.warc.refusals import is_wall


def result(*headers: tuple[bytes, bytes], body: bytes = b"<title>A page</title>") -> FetchResult:
    return FetchResult("http://a.test/", 1000, status=200, headers=headers, body=body)


@pytest.mark.parametrize(
    ("headers", "body", "wall"),
    [
        ([("cf-mitigated", "challenge")], b"", True),
        ([], b"<title>Just a moment...</title>", True),
        ([], b"<TITLE>\n Attention Required! | Cloudflare</TITLE>", True),
        ([], b"<title>Access Denied</title>", True),
        ([], b"<title>Access Denied: a novel of the web</title>", False),
        ([], b" " * 5000 + b"<title>Just a moment...</title>", False),
        ([("server", "cloudflare"), ("set-cookie", "datadome=1")], b"<title>News</title>", False),
    ],
)
def test_walls_are_known_by_header_and_title(
    headers: list[tuple[str, str]], body: bytes, wall: bool
) -> None:
    assert is_wall(headers, body) is wall


def test_counts_are_of_all_answers_and_of_the_recent_ones() -> None:
    counter = WallCounter()
    for number in range(3 * WINDOW):
        counter.note(result((b"CF-Mitigated", b"challenge")) if number % 2 else result())
    assert counter.state() == {
        "answers": 3 * WINDOW,
        "walls": 3 * WINDOW // 2,
        "recent_answers": WINDOW,
        "recent_walls": WINDOW // 2,
    }


@pytest.mark.parametrize(
    ("answers", "walls", "recent", "recent_walls", "warned"),
    [
        (10_000, 110, 400, 80, True),  # from 0.3 % to 20 %
        (10_000, 600, 400, 40, True),  # from 6 % to 10 %
        (10_000, 600, 400, 25, False),  # as before
        (10_000, 9, 400, 9, False),  # too few to tell
        (10_000, 15, 400, 15, False),  # under 5 %
        (100, 30, 100, 30, True),  # from the start
        (10_000, 5_000, 400, 200, True),  # high all the time
        (0, 0, 0, 0, False),
    ],
)
def test_a_rising_or_high_share_warns(
    answers: int, walls: int, recent: int, recent_walls: int, warned: bool
) -> None:
    counts = dict(
        zip(
            ("answers", "walls", "recent_answers", "recent_walls"),
            (answers, walls, recent, recent_walls),
            strict=True,
        )
    )
    line = warning(counts)
    assert (line is not None) is warned
    if line is not None:
        assert f"{recent_walls / recent:.0%}" in line
        assert "crawl.fetch.delay_s" in line


def test_the_status_of_a_crawl_shows_the_warning_of_all_workers() -> None:
    state = {"done": 5, "total": 9, "at": 100.0, "reasons": {"ok": 5}}
    walled = {"answers": 300, "walls": 40, "recent_answers": 200, "recent_walls": 40}
    assert not any("bot walls" in line for line in merge([state], 100.0).lines())
    lines = merge([state | walled, state | walled], 100.0).lines()
    assert lines[-1].startswith("warning: bot walls in 20% of the last 400 answers, 0% before")


BORDERS = [
    # answers, walls, recent answers, recent walls: at least 10 walls
    ((10_000, 9, 180, 9), False),
    ((10_000, 10, 180, 10), True),
    # at least 5 % of the recent ones
    ((10_000, 15, 301, 15), False),
    ((10_000, 15, 300, 15), True),
    # 1.5 times the earlier 8 %, or 20 % of the recent ones whatever was before
    ((1_100, 91, 100, 11), False),
    ((1_100, 92, 100, 12), True),
    ((1_100, 919, 100, 19), False),
    ((1_100, 920, 100, 20), True),
]


@pytest.mark.parametrize(("counts", "warned"), BORDERS)
def test_the_warning_begins_at_the_border(counts: tuple[int, ...], warned: bool) -> None:
    names = ("answers", "walls", "recent_answers", "recent_walls")
    assert (warning(dict(zip(names, counts, strict=True))) is not None) is warned


def test_recent_answers_are_one_to_two_windows_of_200() -> None:
    counter = WallCounter()
    recent = []
    for _ in range(401):
        counter.note(result())
        recent.append(counter.state()["recent_answers"])
    assert (recent[198], recent[199], recent[200], recent[398], recent[399], recent[400]) == (
        199,
        200,
        201,
        399,
        200,
        201,
    )
