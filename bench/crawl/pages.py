"""Pages fetched from a server on loopback: our worker, a bare Scrapy spider, bare aiohttp.

Real documentation pages are served from 64 addresses of this machine by a process of its own,
without delays. Ours reads robots.txt, guards every connection and stores WARC; the others read the
body and discard it. `--hosts 2000 --pages 20000` spreads the pages over many hosts, each of which
costs ours a robots.txt. `bench.crawl.hostile_web` measures floods and odd answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import multiprocessing
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from bench.material import shared
from bench.measure import Contestant, Turn, Work, arguments, compare, show
from crawl.fetch.meta_elements import meta_elements

NUM_ADDRESSES = 64
CONCURRENCY = 64


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pages", type=int, default=3000, help="pages per turn (default: 3000)")
    parser.add_argument("--hosts", type=int, default=NUM_ADDRESSES, help="hosts (default: 64)")
    args = parser.parse_args()
    bodies = documents(args.pages)

    with serving(bodies) as port:
        urls = [
            f"http://127.0.{i % args.hosts // 250}.{i % args.hosts % 250 + 1}:{port}/{i}.html"
            for i in range(args.pages)
        ]
        source = {"urls": urls, "port": port, "bytes": sum(map(len, bodies))}
        result = compare(
            "pages",
            [
                Contestant("ours", ours),
                Contestant("scrapy", scrapy, "scrapy"),
                Contestant("aiohttp", bare_aiohttp, "aiohttp"),
            ],
            source,
            description=f"{len(bodies)} pages of the loopweb documentation, {source['bytes'] / 1e6:.0f} MB, "
            f"plain HTTP with keep-alive, {args.hosts} addresses",
            unit="pages/s",
            rounds=args.rounds,
        )

    show(result, as_json=args.json)


def ours(source: dict[str, Any]) -> Work:
    """One shard through `crawl.fetch.worker`: robots.txt, guard, WARC, fsync."""
    from crawl.fetch import worker
    from crawl.fetch.settings import FetchConfig

    folder = tempfile.TemporaryDirectory()
    root = Path(folder.name)
    rows = [
        {
            "doc_id": hashlib.md5(url.encode(), usedforsecurity=False).hexdigest(),
            "url": url,
            "domain": url.split("/")[2].partition(":")[0],
            "score": 3,
        }
        for url in source["urls"]
    ]
    schema = pa.schema(
        [
            ("doc_id", pa.string()),
            ("url", pa.string()),
            ("domain", pa.string()),
            ("score", pa.int32()),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), root / "links.parquet")
    config = FetchConfig(
        allow_networks=("127.0.0.0/8",),
        allow_ports=(source["port"],),
        delay_s=0.0,
        latency_factor=0.0,
        concurrency=CONCURRENCY,
    )
    spec = worker.Spec(
        str(root / "corpus"), 0, root / "links.parquet", root / "out", "warc/b/part-00000", config
    )

    def work() -> Turn:
        with contextlib.redirect_stdout(io.StringIO()):
            assert worker.run(spec) == 0
        outcomes = [pq.read_table(path) for path in (root / "out").glob("outcomes-*.parquet")]
        stored = sum(table["reason"].null_count for table in outcomes)
        folder.cleanup()
        return Turn(stored, {"stored": stored})

    return work


def scrapy(source: dict[str, Any]) -> Work:
    """A spider with only Scrapy's own handler and scheduler: no robots.txt, guard or archive."""
    import scrapy as engine
    from scrapy.crawler import AsyncCrawlerRunner

    seen: list[int] = []

    class Bare(engine.Spider):
        name = "bare"

        async def start(self) -> Any:
            for url in source["urls"]:
                yield engine.Request(url, dont_filter=True)

        def parse(self, response: Any) -> None:
            seen.append(len(response.body))

    settings = {
        "TWISTED_REACTOR_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "LOG_ENABLED": False,
        "COOKIES_ENABLED": False,
        "RETRY_ENABLED": False,
        "ROBOTSTXT_OBEY": False,
        "DOWNLOAD_DELAY": 0,
        "CONCURRENT_REQUESTS": CONCURRENCY,
        "CONCURRENT_REQUESTS_PER_DOMAIN": CONCURRENCY,
    }

    def work() -> Turn:
        asyncio.run(_crawl(AsyncCrawlerRunner(settings), Bare))
        return Turn(len(seen), {"stored": 0})

    return work


async def _crawl(runner: Any, spider: Any) -> None:
    await runner.crawl(spider)


def bare_aiohttp(source: dict[str, Any]) -> Work:
    """The minimum work of any client on asyncio."""
    import aiohttp

    seen: list[int] = []

    async def fetch_all() -> None:
        left = iter(source["urls"])
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def fetch_some() -> None:
                for url in left:
                    async with session.get(url) as answer:
                        seen.append(len(await answer.read()))

            await asyncio.gather(*(fetch_some() for _ in range(CONCURRENCY)))

    def work() -> Turn:
        asyncio.run(fetch_all())
        return Turn(len(seen), {"stored": 0})

    return work


def documents(limit: int) -> list[bytes]:
    """The first pages of each documentation site in turn."""
    sites = []
    for path in sorted((shared() / "loopweb").glob("*.tar.zst")):
        with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
            archive = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115
            names = (member for member in archive if member.isfile() and "htm" in member.name)
            files = (archive.extractfile(member) for member in names)
            read = [file.read() for file in files if file is not None]
            # Only ours follows a refresh, and its target is not served.
            sites.append([body for body in read if not _has_refresh(body)])

    found: list[bytes] = []
    for rank in range(max(map(len, sites))):
        found += [site[rank] for site in sites if rank < len(site)]

    return [found[i % len(found)] for i in range(limit)]


def _has_refresh(body: bytes) -> bool:
    return any(each.get("http-equiv", "").lower() == "refresh" for _, each in meta_elements(body))


@contextlib.contextmanager
def serving(bodies: list[bytes]) -> Iterator[int]:
    """Start a process with the server and return it with its port."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(bodies, sender), daemon=True)
    process.start()

    try:
        yield receiver.recv()
    finally:
        process.terminate()
        process.join()


def _serve(bodies: list[bytes], sender: Any) -> None:
    async def serve() -> None:
        # All of 127.0.0.0/8 leads here.
        server = await asyncio.start_server(answer, "0.0.0.0", 0)
        sender.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                if not path[1:-5].isdigit():  # robots.txt
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                else:
                    body = bodies[int(path[1:-5])]
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n"
                        % len(body)
                    )
                    writer.write(body)
                await writer.drain()

        writer.close()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
