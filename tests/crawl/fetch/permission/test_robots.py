"""robots.txt: RFC 9309's cases, thousands of real files against Protego, and the matrix of answers on a real socket."""

from __future__ import annotations

import re
import tarfile
import unicodedata
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from protego import Protego

from crawl.fetch.permission.robots import MAX_PARSED_BYTES, UNREACHABLE, Access, decide, parse
from crawl.fetch.permission.robots_cache import RobotsCache
from crawl.outcomes import Reason
from tests.crawl.loopback import Shard, Web, moved, ok


def allows(text: str | bytes, path: str, token: str = "webtext") -> bool:
    body = text.encode() if isinstance(text, str) else text
    return parse(body, token).allows("http://a.test" + path)


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/x", True),
        ("User-agent: *\nDisallow: /", "/x", False),
        ("User-agent: *\nDisallow:", "/x", True),
        ("User-agent: *\nDisallow: /", "/robots.txt", True),
        ("user-AGENT: WebText\ndisALLOW: /a", "/a/b", False),
        ("User-agent: *\nDisallow: /\nUser-agent: webtext\nAllow: /", "/x", True),
        ("User-agent: webtext/2.0\nDisallow: /", "/x", False),
        ("User-agent: web\nDisallow: /", "/x", True),
        ("User-agent: webtexter\nDisallow: /", "/x", True),
        ("User-agent: *bot*\nDisallow: /", "/x", True),
        ("User-agent: a\nUser-agent: webtext\nUser-agent: b\nDisallow: /x", "/x", False),
        (
            "User-agent: webtext\nDisallow: /x\nUser-agent: b\nAllow: /\nUser-agent: webtext\nDisallow: /y",
            "/y",
            False,
        ),
        ("User-agent: *\nCrawl-delay: 5\nUser-agent: b\nDisallow: /", "/x", False),
        ("User-agent: webtext\nSitemap: http://a/s\nDisallow: /x", "/x", False),
        ("Disallow: /", "/x", True),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("User-agent: *\nAllow: /a\nDisallow: /a/b", "/a/b/c", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a", "/a", True),
        ("User-agent: *\nDisallow: /*.php$", "/x/y.php", False),
        ("User-agent: *\nDisallow: /*.php$", "/x/y.php?z", True),
        ("User-agent: *\nDisallow: /a*b*c", "/axxbyyc", False),
        ("User-agent: *\nDisallow: /a*b*c", "/axxcyyb", True),
        ("User-agent: *\nDisallow: /a$", "/a", False),
        ("User-agent: *\nDisallow: /a$", "/ab", True),
        # A part of a pattern begins where the part before it ends.
        ("User-agent: *\nDisallow: /x*ab*bc", "/xabc", True),
        ("User-agent: *\nDisallow: /x*ab*bc", "/xabbc", False),
        ("User-agent: *\nDisallow: /x*ab*bc*cd", "/xabbcd", True),
        ("User-agent: *\nDisallow: /x*ab*bc*cd", "/xabbccd", False),
        ("User-agent: *\nDisallow: *x", "/a/x", False),
        ("User-agent: *\nDisallow: /caf\u00e9", "/caf%C3%A9/1", False),
        ("User-agent: *\nDisallow: /caf%c3%a9", "/caf%C3%A9/1", False),
        ("User-agent: *\nDisallow: /%7euser", "/~user/", False),
        ("User-agent: *\nDisallow: /a%2Fb", "/a/b", True),
        ("User-agent: *\nDisallow: /s?q=", "/s?q=1", False),
        ("User-agent: *\nDisallow: /a%2A.html", "/a*.html", False),
        ("User-agent: *\nDisallow: /a%2A.html", "/ab.html", True),
        ("User-agent: *\nDisallow: /a%24", "/a$", False),
        ("User-agent: *\nDisallow: /a$b", "/a$b", False),
        ("User-agent: *\nDisallow: /a**b$", "/axb", False),
        ("User-agent: *\nDisallow: /x # why\n", "/x", False),
        ("User-agent: *\rDisallow: /x\r", "/x", False),
        ("\ufeffUser-agent: *\nDisallow: /x", "/x", False),
        ("User-agent *\nDisallow /x", "/x", False),
        ("User-agent: *\nDissallow: /x", "/x", False),
        ("User-agent: *\nDisallow: x", "/x", True),
        ("<html>not found</html>", "/x", True),
    ],
)
def test_rfc_9309(text: str, path: str, allowed: bool) -> None:
    assert allows(text, path) is allowed


@pytest.mark.parametrize(
    ("status", "access"),
    [
        (200, Access.RULES),
        (404, Access.UNAVAILABLE),
        (401, Access.UNAVAILABLE),
        (403, Access.UNAVAILABLE),
        (301, Access.UNAVAILABLE),
        (429, Access.UNREACHABLE),
        (500, Access.UNREACHABLE),
        (503, Access.UNREACHABLE),
        (None, Access.UNREACHABLE),
    ],
)
def test_what_a_status_means(status: int | None, access: Access) -> None:
    robots = decide(status, b"User-agent: *\nDisallow: /x", "webtext")
    assert robots.access is access
    assert robots.allows("http://a.test/y") is (access is not Access.UNREACHABLE)


def test_what_lies_behind_the_limit_is_not_read() -> None:
    filler = b"#" * 99 + b"\n"
    body = b"User-agent: *\n" + filler * (MAX_PARSED_BYTES // 100) + b"Disallow: /x\n"
    assert len(body) > MAX_PARSED_BYTES
    assert allows(body, "/x")
    assert not allows(body[-200:].replace(filler, b"User-agent: *\n"), "/x")


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_line_that_the_limit_cuts_is_no_rule(end: str) -> None:
    """`Disallow: /` is what is left of a longer one: it would forbid the whole site."""
    body = f"User-agent: *{end}#".encode()
    body += (
        b"x" * (MAX_PARSED_BYTES - len(body) - len(f"{end}Disallow: /"))
        + f"{end}Disallow: /".encode()
    )
    assert len(body) == MAX_PARSED_BYTES
    assert allows(body + b"private\n", "/x")
    assert not allows(body, "/x"), "a file of just that length is whole"


def test_the_cache_forgets_what_was_least_used_and_what_is_old() -> None:
    cache = RobotsCache(keep_s=100.0, max_bytes=5000)
    rules = parse(b"User-agent: *\nDisallow: /" + b"x" * 1000, "webtext")
    for number in range(3):
        cache.keep(f"http://{number}.test:80", rules, now=float(number))
    assert cache.find("http://0.test:80", 50.0) == rules
    cache.keep("http://3.test:80", rules, now=3.0)
    assert [cache.find(f"http://{number}.test:80", 50.0) is not None for number in range(4)] == [
        True,
        False,
        True,
        True,
    ]
    assert cache.num_bytes <= 5000
    assert cache.find("http://3.test:80", 104.0) is None
    cache.keep("http://3.test:80", UNREACHABLE, now=104.0)
    assert cache.find("http://3.test:80", 105.0) == UNREACHABLE
    cache.keep(
        "http://huge.test:80", parse(b"User-agent: *\nDisallow: /" + b"y" * 9000, "webtext"), 105.0
    )
    assert len(cache) == 1, "the newest stays, or its site would be asked for ever"


@pytest.mark.parametrize(
    ("value", "delay"), [("5", 5.0), ("0.5", 0.5), ("x", None), ("-1", None), ("inf", None)]
)
def test_crawl_delay(value: str, delay: float | None) -> None:
    assert parse(f"User-agent: *\nCrawl-delay: {value}".encode(), "webtext").crawl_delay_s == delay


def test_a_hostile_pattern_costs_no_more_than_its_length() -> None:
    pattern = "/" + "*a" * 2000 + "$"
    assert allows(f"User-agent: *\nDisallow: {pattern}", "/" + "a" * 5000 + "b")


@given(st.binary(max_size=400))
def test_any_bytes_parse(body: bytes) -> None:
    parse(b"User-agent: *\nDisallow: /" + body, "webtext").allows("http://a.test/x")


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.soak)])
def test_real_files_agree_with_protego(shared: Path, every: int) -> None:
    """Every verdict that differs is Protego's `Allow: .../index.html` implying the folder, which the RFC does not say."""
    num_files = num_verdicts = 0
    different = set()
    for body in real_files(shared / "robots/robots.tar.zst")[::every]:
        num_files += 1
        ours = parse(body, "webtext")
        text = body[:MAX_PARSED_BYTES].removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
        theirs = Protego.parse(text)
        named = re.findall(r"(?im)^\s*(?:dis)?allow\s*:\s*(/[^\s#]*)", text)[:12]
        paths = [
            "/",
            "/news/1.html",
            "/search?q=a",
            *(path.replace("*", "x").replace("$", "") for path in named),
        ]
        for path in paths:
            num_verdicts += 1
            url = "http://a.test" + path
            if ours.allows(url) != theirs.can_fetch(url, "webtext"):
                assert re.search(rf"(?im)^allow\s*:\s*{re.escape(path)}index\.html", text), (
                    path,
                    text[:500],
                )
                different.add(path)
        assert ours.crawl_delay_s == theirs.crawl_delay("webtext")
    assert num_files > 4000 // every
    assert num_verdicts > 20_000 // every
    assert len(different) <= 3


def real_files(path: Path) -> list[bytes]:
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        archive = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115
        files = (archive.extractfile(member) for member in archive if member.isfile())
        return [file.read() for file in files if file is not None]


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_files_of_windows_editors(name: str) -> None:
    text = "User-agent: *\r\nDisallow: /no\r\n"
    assert not allows(text.encode(name), "/no")
    assert not allows(b"\xfe\xff" + text.encode("utf-16-be"), "/no")
    assert allows(text.encode(name), "/yes")


RULES = b"User-agent: webtext\nDisallow: /no\n"


def test_the_matrix_of_answers(web: Web, shard: Shard) -> None:
    """How a site answers for robots.txt decides what is asked of it: seen by the server, not by us."""
    robots = {
        "rules": ok(RULES, kind="application/octet-stream"),
        "gone": ok(b"", status="410 Gone"),
        "forbidden": ok(RULES, status="403 Forbidden"),
        "broken": ok(RULES, status="503 No"),
        "busy": ok(RULES, status="429 Slow", kind="text/plain"),
        "passing": lambda earlier: ok(RULES) if earlier else ok(b"", status="500 Oops"),
        "moved": moved("http://elsewhere.test/rules"),
        "hops": moved("/r1"),
        "endless": moved("/r0"),
        "html": ok(b"<html>no such page</html>"),
        "shared": moved("http://owner.test/robots.txt"),
        "cut": ok(b"User-agent: *\n#" + b"x" * (MAX_PARSED_BYTES - 27) + b"\nDisallow: /x"),
    }
    web.on("owner.test/robots.txt", robots["rules"])
    web.on("shared.test/yes", moved("http://owner.test/no"))
    web.on("elsewhere.test/rules", ok(RULES))
    for hop in range(1, 5):
        web.on(f"hops.test/r{hop}", moved(f"/r{hop + 1}"))
    web.on("hops.test/r5", ok(RULES))
    for hop in range(9):
        web.on(f"endless.test/r{hop}", moved(f"/r{hop + 1}"))
    for name, answer in robots.items():
        web.on(f"{name}.test/robots.txt", answer)
    urls = [f"http://{name}.test/{path}" for name in robots for path in ("no", "yes")]
    outcomes = shard.crawl(urls, max_delay_s=0.0)
    verdicts = {
        name: tuple(outcomes[f"http://{name}.test/{path}"]["reason"] for path in ("no", "yes"))
        for name in robots
    }
    obeyed = (Reason.ROBOTS_DISALLOWED, None)
    shut = (Reason.ROBOTS_UNREACHABLE, Reason.ROBOTS_UNREACHABLE)
    assert verdicts == {
        "rules": obeyed,
        "gone": (None, None),
        "forbidden": (None, None),
        "broken": shut,
        "busy": shut,
        "passing": obeyed,
        "moved": obeyed,
        "hops": obeyed,
        "endless": (None, None),
        "html": (None, None),
        "shared": (Reason.ROBOTS_DISALLOWED, Reason.ROBOTS_DISALLOWED),
        "cut": (None, None),
    }
    assert web.paths("owner.test") == ["/robots.txt"], (
        "where a redirect led is that site's own file"
    )
    for name in robots:
        paths = web.paths(f"{name}.test")
        assert paths[0] == "/robots.txt"
        assert paths.count("/robots.txt") == (2 if name in ("broken", "busy", "passing") else 1)
        assert ("/no" in paths) == (verdicts[name][0] is None)
        assert ("/yes" in paths) == (verdicts[name][1] is None or name == "shared")


@pytest.mark.parametrize(
    "mark", ["\0", "\x0b", "\x1f", "\x7f", "\xa0", "\ufeff", "\u200b", "\u3000"]
)
def test_invisible_characters_around_a_record_do_not_hide_it(mark: str) -> None:
    """A record that is not recognised allows everything."""
    lines = (
        "# joined of two files",
        f"{mark}User-agent: *{mark}",
        f"{mark}{mark} Disallow: /{mark}",
    )
    rules = parse("\n".join(lines).encode(), "webtext")
    assert not rules.allows("http://a.test/x")
    assert rules.allows("http://a.test/robots.txt")


@pytest.mark.parametrize(
    ("mark", "is_invisible"),
    [
        *((mark, True) for mark in "\x01 \x7f\x80\x9f\xa0\xad\u2000\u200f\u202a\u202e\u3000"),
        *((mark, True) for mark in "\u2060\u206f\ufeff"),
        *((mark, False) for mark in "!~\xa1\xac\xae\u1fff\u2010\u2029\u2070\u3001\ufefe\uff00"),
    ],
)
def test_characters_that_are_invisible_at_the_ends_of_a_value(
    mark: str, is_invisible: bool
) -> None:
    """The first and the last of each range, and their visible neighbours, which make another path."""
    assert allows(f"User-agent: *\nDisallow: {mark}/x", "/x") is not is_invisible


@pytest.mark.parametrize(("num_chars", "known"), [(255, True), (256, True), (257, False)])
def test_a_name_has_256_characters(num_chars: int, known: bool) -> None:
    name = "Crawl" + "Delay".rjust(num_chars - len("Crawl"))
    assert (parse(f"User-agent: *\n{name}: 5".encode(), "webtext").crawl_delay_s == 5) is known


@pytest.mark.parametrize(("num_bytes", "kept"), [(65_535, True), (65_536, True), (65_537, False)])
@pytest.mark.parametrize("first", ["", "other"])
def test_64_kib_of_rules_about_rights_are_kept(num_bytes: int, kept: bool, first: str) -> None:
    """Each line counts with its kind and its end. Those before the limit stay."""
    before = f"L{first}\n" if first else ""
    value = "v" * (num_bytes - len(before) - len("L\n"))
    text = f"License: {first}\nLicense: {value}"
    expected = before + (f"L{value}" if kept else "")
    assert parse(text.encode(), "webtext").rights == expected.removesuffix("\n")


CLOSED = "User-agent: *\nDisallow: /"


@pytest.mark.parametrize("mark", ["\ufeff", "\u200b", "\u2060", "\xad", "\0"])
def test_invisible_characters_inside_of_a_record_do_not_hide_it(mark: str) -> None:
    """Wherever they are: they come with text that was copied from a page."""
    for place in range(len(CLOSED) + 1):
        assert not allows(CLOSED[:place] + mark + CLOSED[place:], "/x"), place


@pytest.mark.parametrize(
    "text",
    [
        *(CLOSED.replace("-", dash) for dash in "\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"),
        CLOSED.replace(": ", "\uff1a"),
        CLOSED.replace("/", "\uff0f"),
        CLOSED.replace("-", "\xa0"),
        CLOSED.replace("User-agent", "User \t agent"),
        "\xef\xbb\xbf" + CLOSED,
        *(CLOSED.replace("*", f"{q}*{q}").replace("/", f"{q}/{q}") for q in "\"'"),
        CLOSED.replace("*", "\u201c*\u201d").replace("/", "\u201c/\u201d"),
        *(CLOSED.replace("*", star) for star in ("*;", "*, x", "*/", "* all", "\uff0a")),
        *(CLOSED.replace("\n", end) for end in ("\v", "\f", "\x85", "\u2028", "\n\r", "\r\r\n")),
    ],
)
def test_what_word_processors_write_does_not_hide_a_record(text: str) -> None:
    assert not allows(text, "/x")


def test_names_are_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a MiB of U+FDFA is 3 million letters in normal form."""
    seen = []

    def normalize(form: str, text: str) -> str:
        seen.append(len(text))
        return text

    monkeypatch.setattr(unicodedata, "normalize", normalize)
    parse(("\ufdfa" * 100_000 + ": x\nUser-agent: " + "\ufdfa" * 9_000).encode(), "webtext")
    assert 0 < max(seen) <= 256


@pytest.mark.parametrize(
    "name", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize(
    "before", ["", "\n", "# \u65e5\u672c\u8a9e\u306e\u30b5\u30a4\u30c8\n", "\u65e5\u672c\n"]
)
def test_wide_encodings_are_read_with_and_without_a_mark(name: str, before: str) -> None:
    assert not allows((before + CLOSED).encode(name), "/x")


@pytest.mark.parametrize("name", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_no_encoding_has_half_a_rule_at_the_limit(name: str) -> None:
    """The whole rule or none, wherever the limit is; a whole one counts without its line end."""
    width = len("x".encode(name))
    end = "\nDisallow: /private\u010a-\u4e00\n"
    free = MAX_PARSED_BYTES // width - len("User-agent: *\n" + end)
    seen = set()
    for more in range(-8, 8):
        body = ("User-agent: *\n#" + "x" * (free + more) + end).encode(name)
        for cut in (body, body[: MAX_PARSED_BYTES + 1]):
            rules = parse(cut, "webtext").rules
            seen.add(rules)
    assert seen == {"", "-/private%C4%8A-%E4%B8%80"}
