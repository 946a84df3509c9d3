"""Exact borders, limits at their defaults, and rates over time of the crawl. Times are arguments here, so no clock runs."""

from __future__ import annotations

import gzip
import random
import struct
import time
import unicodedata
import zlib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from crawl.fetch import settings as fetch_settings
from crawl.fetch.pace import politeness
from crawl.fetch.pace.politeness import (
    PASSING_STATUSES,
    Pace,
    backoff_s,
    may_pass,
    retry_after_s,
)
from crawl.fetch.permission import robots
from crawl.fetch.permission.robots import parse
from crawl.fetch.requests import FetchResult
from crawl.fetch.settings import FetchConfig
from crawl.warc import body as warc_body
from crawl.warc import codings
from crawl.warc.body import BodyDecoder, BombError

NOW = datetime(2024, 1, 2, tzinfo=UTC)
MIB = 1 << 20


def answer(
    status: int, *headers: tuple[str, str], started: float = 0.0, ended: float = 0.0
) -> FetchResult:
    fields = tuple((name.encode(), value.encode()) for name, value in headers)
    return FetchResult(
        "http://d.test/", 1 << 20, started_at=started, ended_at=ended, status=status, headers=fields
    )


def test_statuses_that_may_pass_as_a_table() -> None:
    expected = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
    assert (
        {status for status in range(600) if may_pass(None, status)} == expected == PASSING_STATUSES
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("99999999999", 99_999_999_999.0), ("100000000000", None), (" 5 ", 5.0), ("-1", None), ("٥", None), ("", None), (None, None),
     ("Tue, 02 Jan 2024 00:00:10 GMT", 10.0), ("Mon, 01 Jan 2024 00:00:00 GMT", 0.0), ("Tue, 02 Jan 2024 00:00:10 -0000", 10.0),
     ("Tue, 02 Jan 2024 01:00:10 +0100", 10.0), ("never", None)],
)  # fmt: skip
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize(
    ("num_tries", "seconds"), [(1, 2.0), (2, 4.0), (3, 8.0), (4, 10.0), (99, 10.0)]
)
def test_backoff_doubles_up_to_its_limit(num_tries: int, seconds: float) -> None:
    assert backoff_s(num_tries, 2.0, 10.0) == seconds


def pace(**changes: float) -> Pace:
    return Pace(FetchConfig(**{"delay_s": 2.0, "jitter_frac": 0.0, "max_delay_s": 30.0, **changes}))


def test_slowing_doubles_to_its_cap_and_recovers_by_halves() -> None:
    limits = pace()
    slower = [limits.asked_wait_s("d", answer(429))[1] for _ in range(6)]
    assert slower == [4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert limits.slow_s["d"] == 30.0
    recovered = []
    for _ in range(5):
        limits.asked_wait_s("d", answer(200))
        recovered.append(limits.slow_s.get("d", 0.0))
    assert recovered == [15.0, 7.5, 3.75, 0.0, 0.0]


@pytest.mark.parametrize(
    ("status", "asked"),
    [(200, 0.0), (299, 0.0), (300, 7.0), (301, 7.0), (404, 7.0), (429, 7.0), (503, 7.0)],
)
def test_which_answers_may_ask_for_a_wait(status: int, asked: float) -> None:
    assert pace().asked_wait_s("d", answer(status, ("retry-after", "7")))[0] == asked


@pytest.mark.parametrize(
    ("asked", "obeyed"),
    [("3599", 3599.0), ("3600", 3600.0), ("3601", 3600.0), ("99999999", 3600.0)],
)
def test_a_wait_is_obeyed_up_to_the_default_limit(asked: str, obeyed: float) -> None:
    limits = Pace(FetchConfig())
    assert limits.asked_wait_s("d", answer(503, ("retry-after", asked))) == (obeyed, obeyed)


def test_a_rest_is_jittered_within_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = pace(jitter_frac=0.5)
    for drawn, rest in ((0.0, 2.0), (0.5, 2.5), (1.0, 3.0)):
        monkeypatch.setattr(random, "random", lambda drawn=drawn: drawn)
        assert limits.rest_until("d", answer(200), now=100.0) == 100.0 + rest


def test_a_rest_follows_latency_delay_and_slowness() -> None:
    limits = pace(latency_factor=3.0)
    slow = answer(200, started=10.0, ended=12.0)
    assert limits.rest_until("d", slow, now=0.0) == 12.0 + 6.0
    assert limits.rest_until("d", answer(200, started=10.0, ended=90.0), now=0.0) == 90.0 + 30.0
    limits.slow_s["d"] = 20.0
    assert limits.rest_until("d", slow, now=0.0) == 12.0 + 20.0
    assert limits.rest_until("other", slow, now=0.0) == 12.0 + 6.0
    # Without a time of its start an answer has no latency.
    assert limits.rest_until("other", answer(200, ended=50.0), now=0.0) == 50.0 + 2.0


@pytest.mark.parametrize(
    ("lines", "delay"),
    [("Crawl-delay: 2\nCrawl-delay: 5", 5.0), ("Crawl-delay: 5\nCrawl-delay: 2", 5.0), ("Crawl-delay: 5\nCrawl-delay: x", 5.0),
     ("Crawl-delay: -1", None), ("Crawl-delay: nan", None), ("Crawl-delay: inf\nCrawl-delay: 3", 3.0), ("Crawl-delay: 0", 0.0)],
)  # fmt: skip
def test_the_longest_crawl_delay_counts(lines: str, delay: float | None) -> None:
    robots = parse(f"User-agent: *\n{lines}\nDisallow: /x".encode(), "webtext")
    assert robots.crawl_delay_s == delay


def test_a_zstd_window_is_bounded_at_the_default() -> None:
    """RFC 8878 recommends 8 MiB; a frame may ask for far more memory."""
    assert codings.ZSTD_WINDOW_BYTES == 8 * MIB
    for log, fits in ((22, True), (23, True), (24, False), (27, False)):
        parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=log)
        # An unknown size, so that the frame declares its window.
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        data = compressor.compress(b"x" * 100) + compressor.flush()
        decoder = BodyDecoder(["zstd"], max_bytes=5 * MIB)
        if fits:
            decoder.feed(data)
            assert decoder.body == b"x" * 100
        else:
            with pytest.raises(codings.EncodingError):
                decoder.feed(data)


def test_the_ratio_counts_from_the_default_on() -> None:
    """Below 1 MiB any ratio passes; above it the limit holds."""
    assert warc_body.RATIO_FREE_BYTES == MIB
    for size, bomb in ((MIB - warc_body.STEP_BYTES, False), (MIB, False), (2 * MIB, True)):
        data = zlib.compress(b"\0" * size, 9)
        decoder = BodyDecoder(["deflate"], max_bytes=5 * MIB, max_ratio=100)
        if bomb:
            with pytest.raises(BombError):
                decoder.feed(data)
        else:
            decoder.feed(data)
            assert len(decoder.body) == size


def test_defaults_that_bound_a_page() -> None:
    config = FetchConfig()
    assert (config.max_body_bytes, fetch_settings.MAX_RATIO) == (5 * MIB, 100.0)
    assert fetch_settings.MAX_ENCODINGS == 2
    assert warc_body.SNIFF_BYTES == 512
    assert (
        politeness.BREAKER_FAILURES,
        politeness.BREAKER_OPEN_S,
        politeness.BREAKER_OPENINGS,
    ) == (5, 900.0, 3)


@pytest.mark.parametrize(
    ("asked", "rest"), [(None, 0.0), (1.9, 0.0), (2.0, 0.0), (2.1, 2.1), (60.0, 60.0), (61.0, 60.0)]
)
def test_a_crawl_delay_counts_if_it_is_longer_and_up_to_the_limit(
    asked: float | None, rest: float
) -> None:
    limits = pace(max_crawl_delay_s=60.0)
    assert limits.obey("d", asked) == rest
    assert limits.crawl_delay_s.get("d", 0.0) == rest
    assert limits.obey("d", asked) == 0.0


def test_a_time_far_ahead_comes_from_another_clock(tmp_path: Path) -> None:
    """64 intervals ahead is waited for; a moment more is a clock that was set back."""
    assert politeness.SharedIpPacer.STALE_FACTOR == 64
    assert politeness.SharedIpPacer.NUM_SLOTS == 65_536
    for ahead, waits in ((63.0, True), (65.0, False)):
        pacer = politeness.SharedIpPacer(tmp_path / f"{ahead}", 10.0)
        assert pacer.reserve("1.2.3.4") == 0.0
        at = xxh3_64_intdigest(b"1.2.3.4") % pacer.NUM_SLOTS * 8
        struct.pack_into("<d", pacer._table, at, time.time() + ahead * 10.0)
        assert (pacer.reserve("1.2.3.4") > 0) is waits
        pacer.close()


def test_an_address_that_was_never_asked_is_free() -> None:
    pacer = politeness.OwnIpPacer(5.0)
    assert pacer.reserve("1.2.3.4") == 0.0
    assert 4.0 < pacer.reserve("1.2.3.4") <= 5.0
    assert pacer.reserve("5.6.7.8") == 0.0
    assert pacer._due["1.2.3.4"] > time.monotonic()


def test_statuses_that_slow_a_domain_as_a_table() -> None:
    """Busy (503) and too many requests (429); a gateway's 502 and 504 say nothing of our pace."""
    slowing = set()
    for status in range(100, 600):
        limits = pace()
        limits.asked_wait_s("d", answer(status))
        if limits.slow_s:
            slowing.add(status)
    assert slowing == {429, 503}


def test_an_address_is_free_again_at_the_moment_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Borders of the shared table with a clock that stands still."""
    clock = [1000.0]
    monkeypatch.setattr(politeness, "time", SimpleNamespace(time=lambda: clock[0]))
    pacer = politeness.SharedIpPacer(tmp_path / "table", 10.0)
    assert [pacer.reserve("1.2.3.4") for _ in range(2)] == [0.0, 10.0]
    clock[0] = 1009.5
    assert pacer.reserve("1.2.3.4") == 0.5
    clock[0] = 1010.0
    # Due just now: the first gets it, and the next waits the whole interval.
    assert [pacer.reserve("1.2.3.4") for _ in range(2)] == [0.0, 10.0]

    at = xxh3_64_intdigest(b"1.2.3.4") % pacer.NUM_SLOTS * 8
    for due, waits in ((1010.0 + 640.0, 640.0), (1010.0 + 640.5, 0.0)):
        struct.pack_into("<d", pacer._table, at, due)
        assert pacer.reserve("1.2.3.4") == waits
    pacer.close()


@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        (b"ab\ncd\nefg", b"ab\ncd\nefg"),
        (b"ab\ncd\nefgh", b"ab\ncd\nefgh"),
        (b"ab\ncd\nefghi", b"ab\ncd\n"),
        (b"ab\rcd\refghi", b"ab\rcd\r"),
        (b"ab\rcd\nefghi", b"ab\rcd\n"),
        (b"ab\ncd\refghi", b"ab\ncd\r"),
        (b"abcdefghi\n\n", b"abcdefghi\n"),
        (b"abcdefghijk", b""),
        (b"ab\ncdefghi\n", b"ab\ncdefghi"),
        (b"ab\ncdefghi\r", b"ab\ncdefghi"),
    ],
)
def test_a_file_that_is_too_long_loses_its_last_line(
    body: bytes, parsed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert robots.MAX_PARSED_BYTES == 500 * 1024
    monkeypatch.setattr(robots, "MAX_PARSED_BYTES", 10)
    assert robots._text(body) == parsed.decode()


@pytest.mark.parametrize(
    ("content_range", "whole"),
    [(None, True), ("bytes 0-9/10", True), (" bytes 0-0/1 ", True), ("bytes 0-8/10", False), ("bytes 0-10/10", False),
     ("bytes 1-9/10", False), ("bytes 0-9/*", False), ("", False)],
)  # fmt: skip
def test_a_range_is_the_whole_file_to_its_last_byte(content_range: str | None, whole: bool) -> None:
    assert robots.is_whole_range(content_range) is whole


def test_a_licence_before_all_groups_is_everybodys_and_one_of_another_robot_is_not() -> None:
    other = b"User-agent: other\nLicense: https://a.test/theirs\nDisallow: /\n"
    everybody = b"License: https://a.test/all\n"
    assert "theirs" not in parse(other, "webtext").rights
    assert "https://a.test/all" in parse(everybody + other, "webtext").rights
    assert "https://a.test/all" in parse(everybody, "webtext").rights
    assert "https://a.test/all" not in parse(other + everybody, "webtext").rights


@given(
    extra=st.none() | st.binary(max_size=6),
    name=st.none() | st.binary(max_size=5),
    comment=st.none() | st.binary(max_size=5),
    has_check=st.booleans(),
    is_text=st.booleans(),
)
def test_the_head_of_a_gzip_member_ends_where_its_fields_do(
    extra: bytes | None, name: bytes | None, comment: bytes | None, has_check: bool, is_text: bool
) -> None:
    """RFC 1952, section 2.3: every prefix is too short, and what follows does not matter."""
    flags, fields = is_text + 2 * has_check, b""
    if extra is not None:
        flags, fields = flags | 4, len(extra).to_bytes(2, "little") + extra
    for bit, text in ((8, name), (16, comment)):
        if text is not None:
            flags, fields = flags | bit, fields + text.replace(b"\0", b"-") + b"\0"
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + fields + bytes(2 * has_check)

    assert codings._gzip_head_length(head) == len(head)
    assert codings._gzip_head_length(head + b"\0more") == len(head)
    assert all(codings._gzip_head_length(head[:size]) is None for size in range(len(head)))


@pytest.mark.parametrize("behind", [b"more", b"even more", zstandard.compress(b"x")[:3]])
def test_bytes_behind_a_zstd_frame_are_a_repair(behind: bytes) -> None:
    """Four of them suffice to see that no frame begins; fewer may be the beginning of one."""
    decoder = BodyDecoder(["zstd"], max_bytes=MIB)
    decoder.feed(zstandard.compress(b"text") + behind)
    assert decoder.body == b"text"
    assert decoder.repairs == (("trailing_bytes",) if len(behind) >= 4 else ())


def test_a_body_is_complete_when_all_its_codings_are() -> None:
    def complete(encodings: list[str], wire: bytes) -> bool:
        decoder = BodyDecoder(encodings, max_bytes=MIB)
        decoder.feed(wire)
        return decoder.is_complete

    text = b"some text of a page " * 20
    cut = zlib.compress(text)[:-9]  # within the text: a check alone may be missing
    for outer, pack in (("zstd", zstandard.compress), ("deflate", zlib.compress)):
        assert complete(["deflate", outer], pack(zlib.compress(text)))
        assert not complete(["deflate", outer], pack(cut)), "the inner one is cut"
        assert not complete(["deflate", outer], pack(zlib.compress(text))[:-12])

    frame = zstandard.ZstdCompressor(write_checksum=True).compress(text)
    assert not complete(["zstd"], b""), "nothing came"
    assert complete(["zstd"], frame)
    assert not complete(["zstd"], frame + frame[:-2]), "inside the second frame"
    assert complete(["zstd"], frame + frame)


@pytest.mark.parametrize(("spare", "kept"), [(0, 2), (1, 1)])
def test_64_kib_of_statements_are_kept(spare: int, kept: bool) -> None:
    """Of whole lines, each with its end: two licences of 32 KiB, or one if they are any longer."""
    lines = [f"License: https://{name}.test/".ljust(9 + (32 << 10) - 2, "x") for name in "ab"]
    body = f"{lines[0]}\n{lines[1]}{'x' * spare}\nUser-agent: *\nDisallow: /"
    assert parse(body.encode(), "webtext").rights.count("https://") == kept


@pytest.mark.parametrize(
    ("rule", "path", "matches"),
    [("*", "/", True), ("*/", "/", True), ("*/a", "/a", True), ("/*", "/", True), ("/a*", "/a", True), ("/a*b$", "/ab", True),
     ("/a*ba$", "/aba", True), ("/aba*ba$", "/aba", False), ("/ab*b$", "/ab", False), ("/*a*a", "/a", False), ("*/a*b", "/ab", True), ("*/a*b*c", "/acb", False), ("/*a*a", "/aa", True),
     ("*$", "/", True), ("/$", "/", True), ("/$", "/a", False)],
)  # fmt: skip
def test_a_star_stands_for_no_character_too(rule: str, path: str, matches: bool) -> None:
    """RFC 9309, section 2.2.3: zero or more. Parts never share a character."""
    found = parse(f"User-agent: *\nDisallow: {rule}".encode(), "webtext")
    assert found.allows(f"http://a.test{path}") is not matches


@pytest.mark.parametrize("length", [120, 512, 513, 4096])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_an_eighth_of_zeros_is_a_file_of_two_bytes_a_character(length: int, encoding: str) -> None:
    """Without a byte order mark, among the first 1,024 bytes alone."""
    rules = "User-agent: *\nDisallow: /\u4e2d\n#"
    plain = min(length, 512) // 4
    for num_plain, is_read in ((plain, True), (plain - 1, False)):
        text = rules.ljust(num_plain + 1, "a").ljust(length, "\u4e2d")
        found = parse(text.encode(encoding), "webtext")
        assert found.allows("http://a.test/%E4%B8%AD") is not is_read


def test_every_invisible_character_around_a_value_is_left_out() -> None:
    """Unicode's spaces and controls, and its characters for layout up to U+206F."""
    kinds = {"Zs", "Zl", "Zp", "Cc", "Cf"}
    every = [chr(code) for code in range(0x3001) if unicodedata.category(chr(code)) in kinds]
    ends = "\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
    # Signs of scripts that are written, though Unicode counts them among those for layout.
    signs = [char for char in every if "\u0600" <= char <= "\u08ff"]
    seen = [
        f"U+{ord(char):04X}"
        for char in sorted({*every} - {*signs, *ends})
        if parse(f"User-agent: *\nDisallow: {char}/x{char}\n".encode(), "webtext").allows(
            "http://a.test/x"
        )
    ]
    assert seen == []


def test_two_bytes_a_character_are_little_endian_if_nothing_tells() -> None:
    """The label "utf-16" means little-endian (WHATWG Encoding, section 4.2)."""
    rules = "User-agent: *\nDisallow: /\u4e2d\n#"
    num_zeros = len(rules) - 1
    text = rules + "\u0100" * num_zeros
    for more, encoding in (("", "utf-16-le"), ("a", "utf-16-le"), ("a", "utf-16-be")):
        found = parse((text + more).encode(encoding), "webtext")
        assert not found.allows("http://a.test/%E4%B8%AD")


@pytest.mark.parametrize("size", [2, 9, 10, 11, 18, 19, 40])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_without_a_whole_stream_is_not_complete(coding: str, size: int) -> None:
    packed = {"gzip": gzip.compress(b"some text", mtime=0), "deflate": zlib.compress(b"some text")}
    data = packed[coding]
    decoder = BodyDecoder([coding], max_bytes=MIB)
    decoder.feed(data[:size])
    assert decoder.is_complete is (size >= len(data))


def test_text_under_the_label_of_a_coding_is_complete() -> None:
    for size in (2, 9, 10, 11, 600):
        decoder = BodyDecoder(["gzip"], max_bytes=MIB)
        decoder.feed(b"a" * size)
        assert (decoder.body, decoder.is_complete) == (b"a" * size, True)
