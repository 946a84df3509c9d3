"""A scripted web on loopback whose access log is the referee, and shards of links to crawl on it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastwarc.warc import ArchiveIterator, WarcRecordType

from corpus.storage.store import Store, open_corpus, open_store
from corpus.tables.commit import commit_table
from corpus.tables.parquet import read_table, write_part
from corpus.tables.schemas import LINKS
from corpus.urls import registered_domain
from crawl import run
from crawl.fetch import worker
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import read_outcomes

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Hit:
    host: str
    path: str
    began: float
    ended: float
    header: str = ""


@dataclass
class Web:
    """Answers by host and path; a page of its own for whatever is not scripted, 404 for robots.txt."""

    port: int = 0
    delay_s: float = 0.0
    answers: dict[tuple[str, str], bytes | Script | Callable[[int], bytes]] = field(
        default_factory=dict
    )
    hits: list[Hit] = field(default_factory=list)
    num_connections: int = 0

    def on(self, url: str, answer: bytes | Script | Callable[[int], bytes]) -> None:
        host, slash, path = url.partition("/")
        self.answers[host, slash + path] = answer

    def of(self, host: str) -> list[Hit]:
        return sorted((hit for hit in self.hits if hit.host == host), key=lambda hit: hit.began)

    def paths(self, host: str) -> list[str]:
        return [hit.path for hit in self.of(host)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                began = time.monotonic()
                path = head.split(" ", 2)[1]
                host = head.lower().split("\r\nhost: ", 1)[1].split("\r\n", 1)[0].partition(":")[0]
                earlier = sum(hit.path == path for hit in self.of(host))
                ended = None
                try:
                    ended = await self.answer(host, path, earlier, reader, writer)
                finally:
                    self.hits.append(Hit(host, path, began, ended or time.monotonic(), head))
                if writer.is_closing():
                    return
        except (
            asyncio.IncompleteReadError,
            ConnectionError,
            asyncio.LimitOverrunError,
            asyncio.CancelledError,
        ):
            return
        finally:
            writer.close()

    async def answer(
        self,
        host: str,
        path: str,
        earlier: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> float:
        """Answer; a time by which the client cannot have had all of it: this thread may sleep behind its last write."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        scripted = self.answers.get((host, path))
        if scripted is None:
            missing = path == "/robots.txt"
            page = f"<html><title>{host}{path}</title><p>A page about {path} at {host}.</p></html>"
            scripted = ok(b"", status="404 Not Found") if missing else ok(page.encode())
        ended = time.monotonic()
        if isinstance(scripted, bytes):
            writer.write(scripted)
            await writer.drain()
            if b"\r\nconnection: close" in scripted.lower():
                writer.close()
        elif asyncio.iscoroutinefunction(scripted):
            await scripted(reader, writer)
            ended = time.monotonic()
        else:
            writer.write(scripted(earlier))  # type: ignore[arg-type, call-arg]
            await writer.drain()
        return ended


def ok(
    body: bytes, *headers: str, status: str = "200 OK", kind: str = "text/html; charset=utf-8"
) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def moved(location: str, status: int = 301) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@dataclass
class Shard:
    """Links and the spec of a worker; the config is that of a polite crawler with no patience."""

    folder: Path
    port: int
    config: dict[str, Any] = field(default_factory=dict)
    deadline: float | None = None
    excluded: dict[str, Any] | None = None
    more: dict[str, Any] = field(default_factory=dict)
    """Further fields of the spec."""

    def links(self, urls: Sequence[str], scores: Sequence[int] | None = None) -> None:
        rows = [
            (doc_id(url), url, registered_domain(url.split("/")[2].partition(":")[0]))
            for url in urls
        ]
        columns = dict(
            zip(("doc_id", "url", "domain"), map(list, zip(*rows, strict=True)), strict=True)
        )
        columns["score"] = pa.array(scores or [3] * len(urls), pa.int32())
        pq.write_table(pa.table(columns), self.folder / "links.parquet")

    @property
    def spec_path(self) -> Path:
        settings = {
            "allow_networks": ["127.0.0.0/8"],
            "connect_to": {"*.test": f"127.0.0.1:{self.port}"},
            "delay_s": 0.0,
            "retry_delay_s": 0.1,
            "retries": 1,
            "max_in_flight_per_ip": 64,
            **self.config,
        }
        document = {
            "corpus": str(self.folder / "corpus"),
            "shard": 7,
            "links": str(self.folder / "links.parquet"),
            "out_dir": str(self.folder / "out"),
            "warc_prefix": "warc/b/part-00007",
            "config": FetchConfig.model_validate(settings).model_dump(mode="json"),
            "deadline": self.deadline,
            **self.more,
        }
        if self.excluded is not None:
            document["excluded"] = self.excluded
        path = self.folder / "spec.json"
        path.write_text(json.dumps(document))
        return path

    def run(self) -> int:
        return worker.run(worker.read_spec(str(self.spec_path)))

    def crawl(self, urls: Sequence[str], **config: Any) -> dict[str, dict[str, Any]]:
        """Outcomes by URL; the law that each link has exactly one is checked here."""
        self.config.update(config)
        self.links(urls)
        assert self.run() == 0
        return self.outcomes(urls)

    def outcomes(self, urls: Sequence[str]) -> dict[str, dict[str, Any]]:
        rows = read_outcomes(self.folder / "out").to_pylist()
        assert sorted(row["doc_id"] for row in rows) == sorted(doc_id(url) for url in urls)
        return {row["url"]: row for row in rows}


def _toml(value: Any) -> str:
    """A setting of rights: a word, a truth value or a table of words."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + "}"
    return json.dumps(value)


@dataclass
class Batch:
    """A corpus whose links are committed, fetched through the door."""

    folder: Path
    root: str
    port: int
    config: dict[str, Any] = field(default_factory=dict)
    num_parts: int = 2
    name: str = "b"
    # The referee counts requests; the site's file about mining is asked for where a test is about it.
    rights: dict[str, Any] = field(default_factory=lambda: {"tdmrep_file": False})

    def links(self, urls: Sequence[str]) -> None:
        """Commit the links of the batch."""
        store = open_corpus(self.root, create=True)
        rows = sorted(map(_link_row, urls), key=lambda row: row["doc_id"])
        parts = [
            write_part(
                store,
                LINKS.folder(self.name),
                f"part-{index:05}.parquet",
                LINKS,
                [
                    pa.Table.from_pylist(
                        [
                            row
                            for row in rows
                            if int(row["doc_id"][:8], 16) * self.num_parts >> 32 == index
                        ],
                        LINKS.schema,
                    )
                ],
                index,
                self.num_parts,
            )
            for index in range(self.num_parts)
        ]
        commit_table(store, LINKS, self.name, parts, num_parts=self.num_parts)

    @property
    def arguments(self) -> list[str]:
        """For `crawl.run`."""
        settings: dict[str, Any] = {
            "allow_networks": ["127.0.0.0/8"],
            "connect_to": {"*.test": f"127.0.0.1:{self.port}"},
            "max_in_flight_per_ip": 64,
            "retry_delay_s": 0.1,
            **self.config,
        }
        tables = {name: value for name, value in settings.items() if isinstance(value, dict)}
        lines = ["[crawl.fetch]"]
        lines += [
            f"{name} = {json.dumps(value)}"
            for name, value in settings.items()
            if name not in tables
        ]
        for name, table in tables.items():
            lines += [
                f"[crawl.fetch.{name}]",
                *(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in table.items()),
            ]
        lines += ["[crawl.rights]"]
        lines += [f"{name} = {_toml(value)}" for name, value in self.rights.items()]
        path = self.folder / f"{self.name}.toml"
        path.write_text("\n".join(lines))
        return [
            "--corpus",
            self.root,
            "--batch",
            self.name,
            "--only",
            "fetch",
            "--config",
            str(path),
        ]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The door as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "crawl.run", *self.arguments, *arguments],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def crawl(self, *arguments: str) -> list[dict[str, Any]]:
        """Run the door to its end in this process; the rows of `pages`."""
        assert run.main([*self.arguments, *(arguments or ("--executor", "serial"))]) == 0
        return self.pages()

    def pages(self) -> list[dict[str, Any]]:
        """The committed rows."""
        rows: list[dict[str, Any]] = read_table(
            open_store(self.root), "pages", self.name
        ).to_pylist()
        return rows


def stored(store: Store, path: str) -> list[tuple[str, int]]:
    """(address, status) of the responses in a segment, as a stranger reads it."""
    with store.open_input(path) as stream:
        return [
            (record.headers["WARC-Target-URI"], record.http_headers.status_code)
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response)
        ]


def _link_row(url: str) -> dict[str, Any]:
    return {
        "doc_id": doc_id(url),
        "url": url,
        "url_key": url,
        "domain": registered_domain(url.split("/")[2].partition(":")[0]),
        "score": 3,
        "score_sum": 3,
        "num_submissions": 1,
        "submission_id": "x",
        "subreddit": "x",
        "title": "",
        "created": datetime(2024, 1, 1, tzinfo=UTC),
        "over_18": False,
    }


def doc_id(url: str) -> str:
    return hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()


class serving:  # noqa: N801 - a context manager in the manner of contextlib's
    """A web in a thread of its own, at one port of 127.0.0.1 and, if more are wanted, of the addresses after it."""

    def __init__(self, web: Web, num_addresses: int = 1, tls: ssl.SSLContext | None = None) -> None:
        self.web = web
        self.addresses = [f"127.0.0.{number}" for number in range(1, num_addresses + 1)]
        self.tls = tls
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Web:
        self.thread.start()
        self.servers: list[asyncio.Server] = []
        for address in self.addresses:
            start = asyncio.start_server(self.web.serve, address, self.web.port, ssl=self.tls)
            self.servers.append(asyncio.run_coroutine_threadsafe(start, self.loop).result())
            self.web.port = self.servers[0].sockets[0].getsockname()[1]
        return self.web

    def __exit__(self, *error: object) -> None:
        async def close() -> None:
            for server in self.servers:
                server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def certificate(folder: Path, name: str, *, days: int = 1) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that signs itself; negative days: it has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def gaps(hits: list[Hit]) -> list[float]:
    """Seconds between one request's arrival and the next one's."""
    return [after.began - before.began for before, after in pairwise(hits)]


def assert_polite(web: Web, delay_s: float, *, groups: dict[str, list[str]] | None = None) -> None:
    hosts = {hit.host for hit in web.hits}
    for members in (groups or {host: [host] for host in hosts}).values():
        hits = sorted((hit for hit in web.hits if hit.host in members), key=lambda hit: hit.began)
        for before, after in pairwise(hits):
            assert after.began >= before.ended - 0.002, "two in flight"
            assert after.began - before.ended >= delay_s - 0.005, (members, before, after)
