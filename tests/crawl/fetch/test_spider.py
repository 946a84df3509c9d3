"""One crawl of a nasty web: every way a page can fail has its reason, and no way brings the worker down."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import resource
import time
import zlib

import brotli
import pytest
import zstandard

from corpus.storage.store import open_store
from crawl.fetch.network.body_budget import SMALL_BYTES, BodyShare
from crawl.fetch.settings import FetchConfig
from crawl.fetch.spider import scrapy_settings
from crawl.outcomes import Reason
from crawl.warc.records import read_response
from tests.crawl.loopback import Script, Shard, Web, moved, ok

PAGE = b"<html><p>The quick brown fox jumps over the lazy dog.</p></html>" * 40
MIB = 1 << 20


def zeros(kind: str, size: int) -> bytes:
    """A bomb: `size` zeros under a content encoding."""
    block = bytes(MIB)
    if kind == "gzip":
        deflater = zlib.compressobj(9, zlib.DEFLATED, 31)
        return b"".join(deflater.compress(block) for _ in range(size // MIB)) + deflater.flush()
    if kind == "br":
        squeezer = brotli.Compressor(quality=5)
        return b"".join(squeezer.process(block) for _ in range(size // MIB)) + squeezer.finish()
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    return b"".join(packer.compress(block) for _ in range(size // MIB)) + packer.flush()


def encoded(kind: str, body: bytes) -> bytes:
    return ok(body, f"Content-Encoding: {kind}")


def drip(head: bytes, drop: bytes, pause_s: float) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(200):
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(pause_s)
        writer.close()

    return script


def in_two_halves(data: bytes, pause_s: float) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data[: len(data) // 2])
        await writer.drain()
        await asyncio.sleep(pause_s)
        writer.write(data[len(data) // 2 :])
        await writer.drain()

    return script


def cut_off(data: bytes, *, reset: bool = False) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if reset:
            writer.transport.abort()
        else:
            writer.close()

    return script


SCRIPTED: dict[str, tuple[bytes | Script, str | None]] = {
    "plain": (ok(PAGE), None),
    "gzip": (encoded("gzip", gzip.compress(PAGE)), None),
    "x-gzip": (encoded("x-gzip", gzip.compress(PAGE)), None),
    "deflate": (encoded("deflate", zlib.compress(PAGE)), None),
    "raw-deflate": (encoded("deflate", zlib.compress(PAGE)[2:-4]), None),
    "br": (encoded("br", brotli.compress(PAGE)), None),
    "zstd": (encoded("zstd", zstandard.compress(PAGE)), None),
    "two": (encoded("gzip, br", brotli.compress(gzip.compress(PAGE))), None),
    "not-gzip": (encoded("gzip", PAGE), None),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(
            b"%x\r\n%s\r\n" % (len(PAGE[i : i + 99]), PAGE[i : i + 99])
            for i in range(0, len(PAGE), 99)
        )
        + b"0\r\n\r\n",
        None,
    ),
    "http-1.0": (cut_off(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE), None),
    "untyped": (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE, None),
    "too-little": (cut_off(ok(PAGE + PAGE)[: -len(PAGE)]), None),
    "three": (
        encoded("gzip, gzip, gzip", gzip.compress(gzip.compress(gzip.compress(PAGE)))),
        Reason.BAD_ENCODING,
    ),
    "unknown": (encoded("rot13", PAGE), Reason.BAD_ENCODING),
    "broken-br": (encoded("br", b"\xff" * 400), Reason.BAD_ENCODING),
    "bomb-gzip": (encoded("gzip", zeros("gzip", 64 * MIB)), Reason.DECOMPRESSION_BOMB),
    "bomb-br": (encoded("br", zeros("br", 64 * MIB)), Reason.DECOMPRESSION_BOMB),
    "bomb-zstd": (encoded("zstd", zeros("zstd", 64 * MIB)), Reason.DECOMPRESSION_BOMB),
    "image": (ok(b"GIF89a", kind="image/gif"), Reason.WRONG_TYPE),
    "untyped-pdf": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 800\r\n\r\n%PDF-1.4" + b" " * 792,
        Reason.WRONG_TYPE,
    ),
    "untyped-late": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n4\r\n\0\1\2\3\r\n0\r\n\r\n",
        Reason.WRONG_TYPE,
    ),
    "untyped-image": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nGIF89a\x01\x00",
        Reason.WRONG_TYPE,
    ),
    "empty": (ok(b""), Reason.EMPTY_BODY),
    "missing": (ok(b"no", status="404 Not Found"), Reason.HTTP_STATUS),
    "down": (ok(b"no", status="500 Oops"), Reason.HTTP_STATUS),
    "reset": (cut_off(b"", reset=True), Reason.CONNECTION_LOST),
    "garbage": (cut_off(b"SSH-2.0-OpenSSH_9\r\n\r\n"), Reason.BAD_RESPONSE),
    "big-header": (
        cut_off(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
        Reason.BAD_RESPONSE,
    ),
    "endless-headers": (
        drip(b"HTTP/1.1 200 OK\r\n", b"X-Y: z\r\n" * 500, 0.002),
        Reason.BAD_RESPONSE,
    ),
    "slow": (
        drip(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", b"x", 0.05),
        Reason.TIMEOUT,
    ),
    "silent": (drip(b"", b"", 0.05), Reason.TIMEOUT),
    "loop": (moved("http://loop.test/x"), Reason.REDIRECT_LOOP),
    "nowhere": (moved("", 302), Reason.REDIRECT_INVALID),
    "ftp": (moved("ftp://a.test/"), Reason.REDIRECT_INVALID),
    "port": (moved("http://port.test:22/"), Reason.PORT_REFUSED),
    "metadata": (moved("http://169.254.169.254/latest/"), Reason.ADDRESS_REFUSED),
    "chain": (moved("http://chain.test/1"), Reason.REDIRECT_LIMIT),
}


def test_every_end_has_its_reason_and_nothing_is_lost(web: Web, shard: Shard) -> None:
    urls = [f"http://{name}.test/x" for name in SCRIPTED]
    for name, (answer, _) in SCRIPTED.items():
        web.on(f"{name}.test/x", answer)
    for hop in range(1, 9):
        web.on(f"chain.test/{hop}", moved(f"/{hop + 1}"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = shard.crawl(
        [
            *urls,
            "http://10.0.0.1/x",
            "http://nx.invalid/x",
            "http://2130706433/x",
            "ftp://a.test/x",
        ],
        total_timeout_s=2.5,
        read_timeout_s=2.0,
        max_redirects=3,
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    found = {name: outcomes[url]["reason"] for name, url in zip(SCRIPTED, urls, strict=True)}
    assert found == {name: reason for name, (_, reason) in SCRIPTED.items()}
    assert outcomes["http://10.0.0.1/x"]["reason"] == Reason.ADDRESS_REFUSED
    assert outcomes["http://nx.invalid/x"]["reason"] in (Reason.DNS_NOT_FOUND, Reason.DNS_FAILED)
    assert outcomes["ftp://a.test/x"]["reason"] == Reason.BAD_URL
    assert outcomes["http://2130706433/x"]["reason"] is not None
    assert outcomes["http://missing.test/x"]["status"] == 404
    assert outcomes["http://down.test/x"]["attempts"] == 2
    store = open_store(str(shard.folder / "corpus"))
    for name, (_, reason) in SCRIPTED.items():
        row = outcomes[f"http://{name}.test/x"]
        if reason is None:
            page = read_response(store, row["warc_file"], row["warc_offset"], row["warc_length"])
            assert page.body == PAGE, name
            assert row["body_bytes"] == len(PAGE)
            assert row["ip"] == "127.0.0.1"
            assert row["truncated"] == (name == "too-little")


def test_a_redirect_leads_on_though_its_body_breaks_off(web: Web, shard: Shard) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: http://a.test/%s\r\nContent-Length: 500\r\n\r\n"
    web.on("cut.test/x", cut_off(head % b"cut" + b"<p>half"))
    web.on("silent.test/x", drip(head % b"silent", b"", 0.05))
    outcomes = shard.crawl(
        [f"http://{name}.test/x" for name in ("cut", "silent")], read_timeout_s=1.0
    )
    for name in ("cut", "silent"):
        row = outcomes[f"http://{name}.test/x"]
        assert (row["reason"], row["final_url"]) == (None, f"http://a.test/{name}")
        assert web.paths(f"{name}.test").count("/x") <= 1, "asked once (a hit is noted at its end)"


def test_a_slow_host_does_not_hold_up_the_others(web: Web, shard: Shard) -> None:
    web.on("slow.test/x", drip(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", b"x", 0.05))
    shard.crawl(
        ["http://slow.test/x", *(f"http://h{i}.test/{j}" for i in range(10) for j in range(4))],
        total_timeout_s=4.0,
        retries=0,
    )
    others = [hit.ended for hit in web.hits if hit.host != "slow.test"]
    assert max(others) - min(others) < 3.0


def test_hoarders_keep_no_long_page_waiting(
    web: Web, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers that send much and then nothing: their bodies go to disk, and no page is cut."""
    monkeypatch.setattr("crawl.fetch.dispatcher.ALL_BODIES_BYTES", 8 * MIB)
    peaks = watch_budget(monkeypatch)
    much = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + b"x" * (900 << 10)
    for number in range(12):
        web.on(f"hoarder{number}.test/x", drip(much, b"", 0.05))
    long_page = b"<p>" + b"All work and no play. " * 60_000
    for number in range(3):
        web.on(f"h{number}.test/x", in_two_halves(ok(long_page), 0.4))
        web.on(f"h{number}.test/robots.txt", in_two_halves(ok(b""), 0.2))
    good = [f"http://h{number}.test/x" for number in range(3)]
    bad = [f"http://hoarder{number}.test/x" for number in range(12)]
    outcomes = shard.crawl(bad + good, total_timeout_s=4.0, retries=0)
    assert {outcomes[url]["reason"] for url in good} == {None}
    assert {outcomes[url]["truncated"] for url in good} == {False}
    assert {outcomes[url]["reason"] for url in bad} == {Reason.TIMEOUT}
    assert max(peaks) < 8 * MIB + 15 * SMALL_BYTES


def watch_budget(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes in memory after each growth of a body."""
    peaks, grow_to = [], BodyShare.grow_to

    def watched(share: BodyShare, num_bytes: int) -> bool:
        spooled = grow_to(share, num_bytes)
        peaks.append(share._budget.num_bytes)
        return spooled

    monkeypatch.setattr(BodyShare, "grow_to", watched)
    return peaks


def test_honest_long_pages_come_whole_in_little_memory(
    web: Web, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages below `max_body_bytes` are never cut: 16 of 2 MB at once in 4 MiB, plain and coded."""
    monkeypatch.setattr("crawl.fetch.dispatcher.ALL_BODIES_BYTES", 4 * MIB)
    peaks = watch_budget(monkeypatch)
    draw = random.Random(7)
    bodies = {}
    for number in range(16):
        body = b"<p>" + b" ".join(b"%x" % draw.getrandbits(40) for _ in range(180_000))
        bodies[f"http://h{number}.test/x"] = body
        coding = ("", "gzip", "br", "zstd")[number % 4]
        pack = {"gzip": gzip.compress, "zstd": zstandard.compress}.get(coding)
        if coding == "br":
            answer = encoded("br", brotli.compress(body, quality=1))
        else:
            answer = encoded(coding, pack(body)) if pack else ok(body)
        web.on(f"h{number}.test/x", in_two_halves(answer, 0.5))
    outcomes = shard.crawl([*bodies], retries=0)
    store = open_store(str(shard.folder / "corpus"))
    for url, row in outcomes.items():
        assert (row["reason"], row["truncated"], row["attempts"]) == (None, False, 1)
        page = read_response(store, row["warc_file"], row["warc_offset"], row["warc_length"])
        assert page.body == bodies[url]
    assert max(peaks) < 4 * MIB + 16 * SMALL_BYTES


def test_large_pages_are_cut_and_say_so(web: Web, shard: Shard) -> None:
    text = b"<p>" + b"All work and no play. " * 10_000
    web.on("a.test/plain", ok(text))
    web.on("a.test/gzip", encoded("gzip", gzip.compress(text)))
    outcomes = shard.crawl(["http://a.test/plain", "http://a.test/gzip"], max_body_bytes=50_000)
    store = open_store(str(shard.folder / "corpus"))
    for row in outcomes.values():
        page = read_response(store, row["warc_file"], row["warc_offset"], row["warc_length"])
        assert row["truncated"]
        assert page.truncated == "length"
        assert row["body_bytes"] == 50_000
        assert page.body[:50_000] == text[:50_000]


def test_redirects_are_followed_recorded_and_under_the_target_s_rules(
    web: Web, shard: Shard
) -> None:
    web.on("a.test/x", moved("https://b.test:80/nope", 302))
    web.on("a.test/y", moved("/z?q=é#part"))
    web.on("a.test/z?q=%C3%A9", moved("http://other.example.test/end", 308))
    web.on("shut.test/robots.txt", ok(b"User-agent: *\nDisallow: /", kind="text/plain"))
    web.on("a.test/w", moved("http://shut.test/secret"))
    outcomes = shard.crawl(
        [f"http://a.test/{path}" for path in "xyw"], retries=0, total_timeout_s=3.0
    )
    row = outcomes["http://a.test/y"]
    assert row["redirects"] == ["http://a.test/y", "http://a.test/z?q=%C3%A9"]
    assert row["final_url"] == "http://other.example.test/end"
    assert row["reason"] is None
    assert "/robots.txt" in web.paths("other.example.test")
    assert outcomes["http://a.test/w"]["reason"] == Reason.ROBOTS_DISALLOWED
    assert web.paths("shut.test") == ["/robots.txt"]
    assert outcomes["http://a.test/x"]["reason"] == Reason.ROBOTS_UNREACHABLE  # no TLS there


def test_a_middleware_of_the_operator_s_is_used(
    web: Web, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = shard.crawl(
        ["http://a.test/keep", "http://a.test/drop"],
        scrapy_settings={"DOWNLOADER_MIDDLEWARES": {_importable(shard, monkeypatch): 500}},
    )
    assert outcomes["http://a.test/keep"]["reason"] is None
    assert outcomes["http://a.test/drop"]["reason"] == Reason.IGNORED
    assert "x-extra: 1" in next(hit.header for hit in web.hits if hit.path == "/keep").lower()


def _importable(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> str:
    (shard.folder / "operators_own.py").write_text(
        "from scrapy.exceptions import IgnoreRequest\n"
        "class Refuse:\n"
        "    def process_request(self, request):\n"
        "        request.headers['X-Extra'] = '1'\n"
        "        if request.url.endswith('drop'):\n"
        "            raise IgnoreRequest\n"
    )
    monkeypatch.syspath_prepend(str(shard.folder))
    return "operators_own.Refuse"


def test_requests_name_the_crawler_and_carry_no_state(web: Web, shard: Shard) -> None:
    web.on("a.test/1", ok(PAGE, "Set-Cookie: id=1"))
    shard.crawl(["http://a.test/1", "http://a.test/2"], contact="https://example.org/bot")
    for hit in web.of("a.test"):
        header = hit.header.lower()
        assert "user-agent: webtext (+https://example.org/bot)\r\n" in header
        assert "cookie:" not in header
        assert "referer:" not in header


def test_robots_tags_are_heeded_when_asked(web: Web, shard: Shard) -> None:
    web.on("a.test/header", ok(PAGE, "X-Robots-Tag: otherbot: noindex", "X-Robots-Tag: NoAI"))
    web.on("a.test/meta", ok(b"<head><META content='noai, noindex' name=robots></head>" + PAGE))
    web.on("a.test/theirs", ok(PAGE, "X-Robots-Tag: otherbot: noai"))
    outcomes = shard.crawl(
        [f"http://a.test/{name}" for name in ("header", "meta", "theirs")],
        refuse_robots_tags=["noai"],
    )
    assert [row["reason"] for row in sorted(outcomes.values(), key=lambda row: row["url"])] == [
        "robots_tag",
        "robots_tag",
        None,
    ]


def test_link_rules_hold_for_targets_of_redirects(web: Web, shard: Shard) -> None:
    targets = {
        "wiki": "https://en.wikipedia.org/wiki/X",
        "reddit": "http://www.reddit.com/r/x",
        "file": "/paper.pdf",
        "blocked": "http://sub.blocked.test/",
        "fine": "/page",
    }
    for name, target in targets.items():
        web.on(f"a.test/{name}", moved(target))
    (shard.folder / "hosts").write_text("blocked.test\n")
    shard.excluded = {"blocked_hosts_file": str(shard.folder / "hosts")}
    outcomes = shard.crawl([f"http://a.test/{name}" for name in targets])
    found = {name: outcomes[f"http://a.test/{name}"]["reason"] for name in targets}
    assert found == dict.fromkeys(targets, Reason.REDIRECT_EXCLUDED) | {"fine": None}
    assert {hit.host for hit in web.hits} == {"a.test"}


def test_scrapy_opens_no_door_of_its_own() -> None:
    settings = scrapy_settings(FetchConfig(scrapy_settings={"DOWNLOAD_DELAY": 3}))
    assert settings["DOWNLOAD_DELAY"] == 3
    assert settings["EXTENSIONS_BASE"] == {}
    assert settings["TELNETCONSOLE_ENABLED"] is settings["REMOTE_CONTROL_ENABLED"] is False
    assert [name for name, handler in settings["DOWNLOAD_HANDLERS"].items() if handler] == [
        "http",
        "https",
    ]
    with pytest.raises(ValueError, match="SCHEDULER"):
        FetchConfig(scrapy_settings={"SCHEDULER": "x"})


def test_a_stored_config_is_the_config() -> None:
    config = FetchConfig(connect_to={"*.test": "127.0.0.1:80"}, allow_networks=("127.0.0.0/8",))
    assert (
        FetchConfig.model_validate(json.loads(json.dumps(config.model_dump(mode="json")))) == config
    )


def test_nothing_is_fetched_after_a_deadline(web: Web, shard: Shard) -> None:
    urls = [f"http://a.test/{i}" for i in range(30)]
    shard.config.update(delay_s=0.3, jitter_frac=0.0, latency_factor=0.0)
    shard.links(urls)
    shard.deadline = time.time() + 2.0
    assert shard.run() == 3
    # As many as the pace allows in that time, or fewer on a busy machine.
    fetched = len(web.hits)
    assert fetched <= 8
    shard.deadline = None
    shard.config.update(delay_s=0.0)
    assert shard.run() == 0
    assert all(row["reason"] is None for row in shard.outcomes(urls).values())
    assert len({hit.path for hit in web.hits}) == 31
    assert len(web.hits) <= 33, "robots.txt again, and at most what was in flight"
