"""A proxy that the operator names is used for everything; the guard is closed all the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator

from corpus.errors import FatalError
from corpus.storage.store import open_store
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import Reason, read_outcomes
from crawl.warc.records import read_response
from tests.crawl.loopback import Shard, Web, certificate, moved, serving

PLACES = {
    "open.test": "93.184.215.14:80",
    "other.test": "93.184.215.15:80",
    "tls.test": "93.184.215.16:443",
    "private.test": "10.0.0.7:80",
}
"""What names resolve to: nothing there is ever dialled, the proxy is."""


@dataclass
class Proxy(Web):
    """An HTTP proxy (RFC 9110, section 9.3.6, and RFC 9112, section 3.2.2) before two servers on loopback."""

    plain_port: int = 0
    tls_port: int = 0
    asked: list[str] = field(default_factory=list)
    """Request lines up to the target."""
    refuses: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.decode().split(" ", 2)
                self.asked.append(f"{method} {target}")
                if self.refuses:
                    writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                elif method == "CONNECT":
                    await self._tunnel(reader, writer)
                else:
                    path = "/" + target.split("/", 3)[3]
                    writer.write(
                        await self._answer_to(head.replace(target.encode(), path.encode(), 1))
                    )
        writer.close()

    async def _answer_to(self, request: bytes) -> bytes:
        upstream, towards = await asyncio.open_connection("127.0.0.1", self.plain_port)
        towards.write(request)
        head = await upstream.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await upstream.readexactly(length)
        towards.close()
        return head + body

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, towards = await asyncio.open_connection("127.0.0.1", self.tls_port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_copy(reader, towards), _copy(upstream, writer))


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    target.close()


@pytest.fixture
def proxy(web: Web, tmp_path: Path) -> Iterator[Proxy]:
    with (
        serving(Web(), tls=certificate(tmp_path, "tls.test")) as secure,
        serving(Proxy(plain_port=web.port, tls_port=secure.port)) as running,
    ):
        assert isinstance(running, Proxy)
        yield running


def settings(proxy: Proxy) -> dict[str, Any]:
    return {
        "proxy": f"127.0.0.1:{proxy.port}",
        "allow_networks": [],
        "contact": "https://example.org/bot",
        "connect_to": PLACES,
        "retries": 0,
        "verify_tls": False,
    }


def test_all_goes_through_the_proxy_and_the_guard_is_closed(
    proxy: Proxy, web: Web, shard: Shard
) -> None:
    web.on("open.test/away", moved("http://private.test/secret"))
    web.on("open.test/over", moved("http://other.test/end"))
    urls = [f"http://open.test/{path}" for path in ("x", "away", "over")]
    urls += [
        "https://tls.test/y",
        "http://private.test/z",
        "http://127.0.0.1/w",
        "http://10.1.2.3/v",
    ]
    outcomes = shard.crawl(urls, **settings(proxy))
    assert {url: row["reason"] for url, row in outcomes.items()} == {
        **dict.fromkeys([urls[0], urls[2], urls[3]], None),
        **dict.fromkeys([urls[1], *urls[4:]], Reason.ADDRESS_REFUSED),
    }
    assert outcomes[urls[2]]["final_url"] == "http://other.test/end"
    assert sorted(set(proxy.asked)) == [
        "CONNECT tls.test:443",
        "GET http://open.test/away",
        "GET http://open.test/over",
        "GET http://open.test/robots.txt",
        "GET http://open.test/x",
        "GET http://other.test/end",
        "GET http://other.test/robots.txt",
    ]
    row = outcomes[urls[0]]
    assert row["ip"] is None, "nobody knows which address answered"
    store = open_store(str(shard.folder / "corpus"))
    assert (
        b"A page about /x at open.test"
        in read_response(store, row["warc_file"], row["warc_offset"], row["warc_length"]).body
    )
    with store.open_input(row["warc_file"]) as stream:
        fields = {name.lower() for record in ArchiveIterator(stream) for name, _ in record.headers}
    assert "warc-target-uri" in fields
    assert "warc-ip-address" not in fields


def test_a_proxy_that_refuses_is_a_host_that_cannot_be_had(proxy: Proxy, shard: Shard) -> None:
    proxy.refuses = True
    (row,) = shard.crawl(["https://tls.test/y"], **settings(proxy)).values()
    assert row["reason"] == Reason.ROBOTS_UNREACHABLE


def test_a_lost_proxy_stops_the_crawl_and_costs_no_link(proxy: Proxy, shard: Shard) -> None:
    """Every host would look dead otherwise."""
    urls = [f"http://open.test/{number}" for number in range(5)]
    shard.config.update({**settings(proxy), "proxy": "127.0.0.1:9"})
    shard.links(urls)
    with pytest.raises(
        FatalError, match=r"the proxy 127\.0\.0\.1:9 cannot be reached.*crawl\.fetch\.proxy"
    ):
        shard.run()
    assert read_outcomes(shard.folder / "out").num_rows == 0
    shard.config.update(settings(proxy))
    assert shard.run() == 0
    assert {row["reason"] for row in shard.outcomes(urls).values()} == {None}


@pytest.mark.parametrize("proxy", ["http://proxy:3128", "proxy:3128", "10.0.0.1", "10.0.0.1:0"])
def test_a_proxy_is_an_address_and_a_port(proxy: str) -> None:
    with pytest.raises(ValueError, match="ip:port|1..65535"):
        FetchConfig(proxy=proxy)
