"""Captures of dead links: every index gives the same ones, and the right record comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from corpus.errors import InputError, RetryableError
from crawl.captures.cdx_server import CdxServer, parse_lines
from crawl.captures.choice import candidates
from crawl.captures.client import TRIES, ArchiveAnswer, ArchiveClient
from crawl.captures.columnar import ColumnarIndex
from crawl.captures.index import REVISIT, CaptureIndex, IndexedCapture, parse_timestamp, surt
from crawl.captures.local import LocalIndex
from crawl.captures.record import CaptureError, RecordSource, fetch_record
from crawl.fetch.settings import FetchConfig
from crawl.warc import records
from tests.crawl.captures.made_archive import NUM_HISTORIES, Archive, ArchiveServer, columnar_index

WHEN = datetime(2009, 6, 1, tzinfo=UTC)
WINDOW = timedelta(days=730)
POLICIES = ("nearest", "before", "after")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def server(archive: Archive) -> Iterator[ArchiveServer]:
    found = ArchiveServer(archive)
    yield found
    found.close()


def client(**settings: object) -> ArchiveClient:
    config = {"delay_s": 0.0, "allow_networks": ["127.0.0.0/8"]} | settings
    return ArchiveClient(FetchConfig.model_validate(config), sleep=lambda _: None)


@pytest.fixture(params=["lines", "array", "fields", "columnar", "cdxj", "warc"])
def index(
    request: pytest.FixtureRequest, archive: Archive, server: ArchiveServer, tmp_path: Path
) -> CaptureIndex:
    if request.param in ("lines", "array", "fields"):
        return CdxServer(f"{server.root}/cdx/{request.param}", client())
    if request.param == "columnar":
        return ColumnarIndex(str(columnar_index(archive, tmp_path / "index.parquet")))
    if request.param == "cdxj":
        lines = [
            f"{row['urlkey']} {row['timestamp']} {json.dumps(row)}"
            for url in archive.captures
            for row in archive.rows(url)
        ]
        path = archive.path.with_name("index.cdxj")
        path.write_text("\n".join(sorted(lines)) + "\n")
        return LocalIndex([path])
    return LocalIndex([archive.path])


def test_every_index_gives_all_captures_of_every_page(
    index: CaptureIndex, archive: Archive
) -> None:
    urls = [*archive.captures, "http://nowhere.test/"]
    found = dict(index.captures(urls))
    assert [*found] == urls
    assert found["http://nowhere.test/"] == []
    for url, captures in archive.captures.items():
        assert [(each.at, each.digest) for each in found[url]] == [
            (each.at, each.digest) for each in captures
        ]
        assert [each.is_revisit for each in found[url]] == [each.is_revisit for each in captures]
        assert [each.offset for each in found[url]] == [each.offset for each in captures]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_right_capture_comes_back_from_each_history(policy: Any, archive: Archive) -> None:
    source, tried = RecordSource(base=f"{archive.path.parent}/"), 0
    for captures in archive.captures.values():
        pages = [
            each
            for each in captures
            if archive.is_page(each)
            if abs(each.at - WHEN) <= WINDOW
            if policy == "nearest" or (each.at <= WHEN if policy == "before" else each.at >= WHEN)
        ]
        found = candidates(captures, WHEN, policy, WINDOW)
        assert sorted(found) == sorted(pages)
        if not found:
            continue

        best = min(abs(each.at - WHEN) for each in pages)
        assert abs(found[0].at - WHEN) == best
        fetched = fetch_record(found[0], captures, source, None)
        assert fetched.response.payload == archive.payloads[found[0].url, found[0].timestamp]
        record = records.parse_record(fetched.record())
        assert record.fields["warc-date"] == found[0].at.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert record.fields["warc-source-uri"] == fetched.source
        assert record.fields["warc-record-id"] == fetched.record_id != ""
        tried += 1
    assert tried > NUM_HISTORIES // 3


def test_records_come_by_range_from_a_whole_file_and_by_replay(
    archive: Archive, server: ArchiveServer
) -> None:
    captures = next(
        each
        for each in archive.captures.values()
        if candidates(each, WHEN, "nearest", WINDOW)[:1]
        and not candidates(each, WHEN, "nearest", WINDOW)[0].is_revisit
    )
    best = candidates(captures, WHEN, "nearest", WINDOW)[0]
    asking = client()
    for source in (
        RecordSource(base=f"{server.root}/files/"),
        RecordSource(base=f"{server.root}/files/whole/"),
        RecordSource(replay=server.root + "/web/{timestamp}id_/{url}"),
    ):
        fetched = fetch_record(best, captures, source, asking)
        assert fetched.response.payload == archive.payloads[best.url, best.timestamp]
    assert asking.requests == 4, "robots.txt is asked once"

    wrong = best._replace(digest="A" * 32)
    with pytest.raises(CaptureError, match="digest"):
        fetch_record(wrong, [wrong], RecordSource(base=f"{server.root}/files/"), asking)
    shifted = best._replace(offset=best.offset + 1)
    with pytest.raises(CaptureError):
        fetch_record(shifted, [shifted], RecordSource(base=f"{server.root}/files/"), asking)
    alone = best._replace(mime=REVISIT)
    with pytest.raises(CaptureError, match="revisit"):
        fetch_record(alone, [alone], RecordSource(base=f"{server.root}/files/"), asking)


def test_the_client_waits_as_told_obeys_robots_and_the_guard(server: ArchiveServer) -> None:
    waits: list[float] = []
    config = FetchConfig.model_validate({"delay_s": 0.0, "allow_networks": ["127.0.0.0/8"]})
    asking = ArchiveClient(config, sleep=waits.append)
    server.failures = [(429, {"Retry-After": "77"}), (503, {})]
    assert asking.get(f"{server.root}/web/0id_/x").status == 404
    assert waits == [77.0, 10.0]

    with pytest.raises(InputError, match=r"robots\.txt"):
        asking.get(f"{server.root}/private/x")
    server.failures = [(503, {})] * TRIES
    with pytest.raises(RetryableError, match="status 503"):
        asking.get(f"{server.root}/web/1id_/x")

    guarded = FetchConfig.model_validate({"delay_s": 0.0, "contact": "https://example.org/"})
    with pytest.raises(InputError, match="loopback"):
        ArchiveClient(guarded, sleep=waits.append).get(f"{server.root}/x")


def test_requests_to_one_archive_are_a_delay_apart(server: ArchiveServer) -> None:
    waits: list[float] = []
    config = FetchConfig.model_validate({"delay_s": 5.0, "allow_networks": ["127.0.0.0/8"]})
    asking = ArchiveClient(config, sleep=waits.append)
    asking.get(f"{server.root}/web/1id_/x")
    asking.get(f"{server.root}/web/2id_/x")
    assert len(waits) == 2
    assert all(4.5 < wait <= 5.0 for wait in waits)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://www.Example.com/", "com,example)/"),
        ("https://example.com:443/A/b/", "com,example)/a/b"),
        ("http://example.com:8080/x?b=2&a=1", "com,example:8080)/x?a=1&b=2"),
        ("http://www2.example.co.uk", "uk,co,example)/"),
        ("http://www.com/", "com,www)/"),
    ],
)
def test_keys_are_those_of_indexes(url: str, key: str) -> None:
    assert surt(url) == key


def test_times_and_lines_that_cannot_be_read_are_none() -> None:
    assert parse_timestamp("2009") == datetime(2009, 1, 1, tzinfo=UTC)
    assert parse_timestamp("20090631000000") is None
    assert parse_timestamp("yesterday") is None
    assert parse_lines("") == ([], "")
    assert parse_lines("[]") == ([], "")


@pytest.mark.parametrize("form", ["lines", "keyless"])
def test_a_page_of_very_many_captures_is_asked_for_its_span(
    form: str, archive: Archive, server: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server gives a page of the answer with a key or, as pywb does, nothing beyond its limit."""
    monkeypatch.setattr("crawl.captures.cdx_server.PAGE_LINES", 2)
    monkeypatch.setattr(server, "page", 2)
    url, captures = next((url, each) for url, each in archive.captures.items() if len(each) > 4)
    span = captures[3].at, captures[4].at
    index = CdxServer(f"{server.root}/cdx/{form}", client())
    server.seen.clear()
    [(_, found)] = index.captures([url], {url: span})
    assert [each.at for each in found] == [captures[n].at for n in (0, 1, 3, 4)]
    assert len(server.seen) == 3

    [(_, whole)] = index.captures([url])
    assert [each.at for each in whole] == [each.at for each in captures]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seconds", [-101, -100, -1, 0, 1, 100, 101])
def test_a_capture_counts_within_the_window_and_on_its_side(policy: Any, seconds: int) -> None:
    """The last moment of the window and that of the submission are within on both sides."""
    capture = IndexedCapture(
        "http://a.test/", WHEN + timedelta(seconds=seconds), 200, "text/html", "A"
    )
    fits = (
        abs(seconds) <= 100
        and {"nearest": True, "before": seconds <= 0, "after": seconds >= 0}[policy]
    )
    assert bool(candidates([capture], WHEN, policy, timedelta(seconds=100))) is fits


@pytest.mark.parametrize(
    ("digits", "at"),
    [("200", None), ("2009", (2009, 1, 1, 0, 0, 0)), ("200902", (2009, 2, 1, 0, 0, 0)), ("2009020304", (2009, 2, 3, 4, 0, 0)),
     ("20090203040506", (2009, 2, 3, 4, 5, 6)), ("200902030405067", None), ("２００９", None), (" 2009 ", (2009, 1, 1, 0, 0, 0))],
)  # fmt: skip
def test_a_time_has_four_to_fourteen_digits(digits: str, at: tuple[int, ...] | None) -> None:
    assert parse_timestamp(digits) == (None if at is None else datetime(*at, tzinfo=UTC))  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("url", "key"),
    [("http://www.a.b/", "b,a)/"), ("http://www.b/", "b,www)/"), ("http://wwwx.a.b/", "b,a,wwwx)/"), ("http://a.b:80/", "b,a)/"),
     ("http://a.b:81/", "b,a:81)/"), ("http://a.b/c/", "b,a)/c"), ("http://a.b//", "b,a)/"), ("http://a.b", "b,a)/"), ("http://a.b./", "b,a)/")],
)  # fmt: skip
def test_keys_at_the_border_of_each_rule(url: str, key: str) -> None:
    assert surt(url) == key


@pytest.mark.parametrize("num_values", [6, 7, 8, 10, 11, 12])
def test_lines_without_names_have_seven_or_eleven_fields(num_values: int) -> None:
    """The digest is the sixth of both; offset and file are those of eleven only."""
    [row], _ = parse_lines(" ".join(f"v{number}" for number in range(num_values)))
    assert row["digest"] == "v5"
    assert row.get("length") == ("v8" if num_values >= 11 else "v6" if num_values > 6 else None)
    assert ("filename" in row) is (num_values >= 11)


@pytest.mark.parametrize(
    ("text", "num_rows", "key"),
    [("a b\n\nkey", 1, "key"), ("\n\na b", 1, ""), ("a b", 1, ""), ("a b\nc d", 2, ""), ('[["url"],["x"],[],["key"]]', 1, "key"),
     ('[["url"],["x"],["y"]]', 2, ""), ('[[],["key"]]', 0, "key"), ('[["url"]]', 0, "")],
)  # fmt: skip
def test_a_resume_key_stands_behind_an_empty_row(text: str, num_rows: int, key: str) -> None:
    rows, found = parse_lines(text)
    assert (len(rows), found) == (num_rows, key)


@pytest.mark.parametrize(("num_lines", "num_requests"), [(999, 1), (1000, 2), (1001, 2)])
def test_an_answer_of_a_thousand_lines_may_go_on(num_lines: int, num_requests: int) -> None:
    """Without a key, an answer as long as its limit is asked for again with a larger one."""
    asked: list[str] = []

    class Listing:
        def get(self, url: str) -> Any:
            asked.append(url)
            lines = "\n".join(
                f"k 2009 http://a.test/ text/html 200 D{n} 1" for n in range(num_lines)
            )
            return SimpleNamespace(status=200, body=lines.encode())

    [(_, found)] = CdxServer("http://index.test/cdx", Listing()).captures(["http://a.test/"])  # type: ignore[arg-type]
    assert (len(found), len(asked)) == (num_lines, num_requests)
    assert "limit=1000&" in asked[0]
    assert all("limit=20000&" in url for url in asked[1:])


def test_a_capture_without_a_place_has_none() -> None:
    capture = IndexedCapture("http://a.test/", WHEN, 200, "text/html", "A")
    assert (capture.file, capture.offset, capture.length) == ("", 0, 0)


@pytest.mark.parametrize(
    "status", [200, 204, 301, 400, 401, 402, 403, 404, 405, 410, 418, 450, 451, 452, 499]
)
def test_statuses_of_an_index_as_a_table(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address not there, or not to be shown, has no captures; any other failure is tried again."""
    asked = client()
    answer = ArchiveAnswer("http://a.test/", status, "", {}, b"")
    monkeypatch.setattr(asked, "get", lambda url: answer)
    index = CdxServer("http://a.test/cdx", asked)
    if status in (200, 400, 403, 404, 451):
        assert list(index.captures(["http://b.test/"])) == [("http://b.test/", [])]
    else:
        with pytest.raises(RetryableError, match=f"status {status}"):
            list(index.captures(["http://b.test/"]))


@pytest.mark.parametrize(
    ("asked", "waits"),
    [
        ("", [5.0, 10.0, 20.0, 40.0, 80.0]),
        ("soon", [5.0, 10.0, 20.0, 40.0, 80.0]),
        ("0", [5.0, 10.0, 20.0, 40.0, 80.0]),
        (" 30 ", [30.0, 30.0, 30.0, 40.0, 80.0]),
        ("599", [599.0] * 5),
        ("3600", [600.0] * 5),
    ],
)
def test_a_busy_archive_is_asked_six_times(asked: str, waits: list[float]) -> None:
    """The wait doubles, or is what the archive asks for, up to ten minutes."""
    slept: list[float] = []
    config = {"delay_s": 0.0, "allow_networks": ["127.0.0.0/8"]}
    archive = ArchiveClient(FetchConfig.model_validate(config), sleep=slept.append)
    busy = ArchiveAnswer("http://a.test/", 503, "", {"retry-after": asked}, b"")
    with (
        mock.patch.object(archive, "_once", return_value=busy) as once,
        pytest.raises(RetryableError, match="status 503"),
    ):
        archive.get("http://a.test/")
    assert (once.call_count, slept) == (6, waits)


def test_statuses_that_pass_are_tried_again_as_a_table() -> None:
    passing = set()
    for status in (*range(200, 206), *range(400, 432), *range(499, 506)):
        archive = client()
        answer = ArchiveAnswer("http://a.test/", status, "", {}, b"")
        with mock.patch.object(archive, "_once", return_value=answer):
            try:
                assert archive._patiently("http://a.test/", {}) is answer
            except RetryableError:
                passing.add(status)
    assert passing == {408, 425, 429, 500, 502, 503, 504}
