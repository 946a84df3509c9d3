"""Attacks on the fetch that need more than a canned answer: endless bombs, broken TLS, many of them at once; real sites."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import tarfile
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median

import brotli
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType

from corpus.storage.store import open_store
from crawl.outcomes import Reason
from crawl.warc.records import read_response
from tests.crawl.loopback import Batch, Script, Shard, Web, certificate, ok, serving
from tests.support import child

MIB = 1 << 20
BOMB_BYTES = 10 << 30
ROOT = Path(__file__).parents[3]


def squeezed(kind: str) -> tuple[bytes, bytes]:
    """The beginning of a bomb, and a piece that stands for one more MiB of zeros and may be repeated without end."""
    zeros = bytes(MIB)
    if kind == "gzip":
        deflater = zlib.compressobj(9, zlib.DEFLATED, 31)
        head = deflater.compress(zeros) + deflater.flush(zlib.Z_FULL_FLUSH)
        return head, deflater.compress(zeros) + deflater.flush(zlib.Z_FULL_FLUSH)
    if kind == "br":
        squeezer = brotli.Compressor(quality=5)
        head = squeezer.process(zeros) + squeezer.flush()
        return head, squeezer.process(zeros) + squeezer.flush()
    return b"", zstandard.compress(zeros)


def bomb(kind: str) -> Script:
    """10 GB under a content encoding, made while it is sent."""
    head, piece = squeezed(kind)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: %s\r\n\r\n"
            % kind.encode()
        )
        writer.write(head)
        for _ in range(BOMB_BYTES // MIB):
            writer.write(piece)
            await writer.drain()
        writer.close()

    return script


async def one_byte_a_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>")
    while True:
        writer.write(b"All work and no play. " * 4000)
        await writer.drain()


async def endless_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Y: z\r\n" * 1000)
        await writer.drain()


ATTACKS = {
    "gzip": bomb("gzip"),
    "br": bomb("br"),
    "zstd": bomb("zstd"),
    "drip": one_byte_a_time,
    "text": endless_text,
    "headers": endless_headers,
}


def run_worker(shard: Shard) -> tuple[float, float]:
    """The worker as a process: its peak memory in MB and the seconds it had."""
    code = (
        "import sys, resource, time\n"
        "from crawl.fetch import worker\n"
        "spec = worker.read_spec(sys.argv[1])\n"
        "began = time.monotonic()\n"
        "assert worker.run(spec) == 0\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "print('PEAK', peak, time.monotonic() - began)\n"
    )
    shown = child.run_program(code, str(shard.spec_path))
    _, peak, seconds = shown.strip().splitlines()[-1].split()
    return float(peak), float(seconds)


def test_ten_gigabytes_in_ten_megabytes(web: Web, shard: Shard) -> None:
    for kind in ("gzip", "br", "zstd"):
        web.on(f"{kind}.test/x", ATTACKS[kind])
    outcomes = shard.crawl([f"http://{kind}.test/x" for kind in ("gzip", "br", "zstd")])
    assert {row["reason"] for row in outcomes.values()} == {Reason.DECOMPRESSION_BOMB}


@contextmanager
def attackers() -> Iterator[int]:
    """Servers that do nothing but attack, in a process of their own: the others are not to suffer from their work."""
    code = "from tests.crawl.fetch import test_nasty_web; test_nasty_web.attack_forever()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def attack_forever() -> None:
    web = Web()
    for name, script in ATTACKS.items():
        for host in range(4):
            for page in range(3):
                web.on(f"x{name}{host}.test/{page}", script)
    with serving(web):
        print(web.port, flush=True)
        threading.Event().wait()


@pytest.mark.soak
def test_abuse_costs_little_memory_and_no_other_host(tmp_path: Path) -> None:
    """Peak memory within 64 MB of a quiet crawl's; the other hosts get at least 90 % of their rate."""
    pace = {"delay_s": 0.1, "jitter_frac": 0.0, "latency_factor": 0.0}
    limits = {"total_timeout_s": 3.0, "retries": 0}

    def crawl(folder: Path, attacked: bool) -> tuple[float, float]:
        folder.mkdir()
        with serving(Web()) as web, attackers() as port:
            places = {"h*.test": f"127.0.0.1:{web.port}", "*.test": f"127.0.0.1:{port}"}
            config = {**pace, **limits, "max_in_flight_per_ip": 128, "connect_to": places}
            shard = Shard(folder, web.port, config)
            good = [f"http://h{host}.test/{page}" for host in range(40) for page in range(60)]
            bad = []
            for name in ATTACKS if attacked else ():
                bad += [
                    f"http://x{name}{host}.test/{page}" for host in range(4) for page in range(3)
                ]
            shard.links(good + bad)
            peak, _ = run_worker(shard)
            outcomes = shard.outcomes(good + bad)
            assert all(outcomes[url]["reason"] is None for url in good)
            rates = []
            for host in range(40):
                hits = web.of(f"h{host}.test")
                rates.append((len(hits) - 1) / (hits[-1].began - hits[0].began))
            return peak, median(rates)

    quiet_peak, quiet_rate = crawl(tmp_path / "quiet", False)
    peak, rate = crawl(tmp_path / "abused", True)
    print(
        f"peak {quiet_peak:.0f} MB, abused {peak:.0f} MB; rate {quiet_rate:.2f}/s, abused {rate:.2f}/s"
    )
    assert peak - quiet_peak <= 64
    assert rate >= 0.9 * quiet_rate


@pytest.fixture
def tls_web(tmp_path: Path) -> Iterator[Web]:
    with serving(Web(), tls=certificate(tmp_path, "a.test", days=-1)) as running:
        yield running


def test_broken_tls_is_refused(tls_web: Web, web: Web, tmp_path: Path) -> None:
    """A certificate that nobody signed and that has expired; and a server that speaks no TLS at all."""
    shard = Shard(tmp_path, tls_web.port)
    places = {"plain.test": f"127.0.0.1:{web.port}", "*.test": f"127.0.0.1:{tls_web.port}"}
    outcomes = shard.crawl(
        ["https://a.test/x", "https://plain.test/x"],
        connect_to=places,
        retries=0,
        total_timeout_s=0.5,
    )
    assert {row["reason"] for row in outcomes.values()} == {Reason.ROBOTS_UNREACHABLE}
    assert tls_web.hits == web.hits == []


def test_unverified_tls_is_an_option_and_is_recorded(tls_web: Web, tmp_path: Path) -> None:
    shard = Shard(tmp_path, tls_web.port)
    (row,) = shard.crawl(["https://a.test/x"], verify_tls=False).values()
    assert row["reason"] is None
    store = open_store(str(tmp_path / "corpus"))
    page = read_response(store, row["warc_file"], row["warc_offset"], row["warc_length"])
    assert page.fields["x-crawler-tls-verified"] == "false"
    assert "x-crawler-tls-verified" not in {name.lower() for name, _ in page.headers}, (
        "headers are as received"
    )
    with store.open_input(row["warc_file"]) as stream:
        info = next(iter(ArchiveIterator(stream, record_types=WarcRecordType.warcinfo)))
        assert b"tls-verified: false" in info.reader.read()


def site_files(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        archive = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.soak)])
def test_real_sites_come_back_byte_for_byte(
    shared: Path, web: Web, shard: Shard, every: int
) -> None:
    bodies: dict[str, bytes] = {}
    number = 0
    sites = sorted((shared / "loopweb").glob("*.tar.zst"), key=lambda path: path.stat().st_size)
    for site, path in enumerate(sites if every == 1 else sites[: len(sites) // 2]):
        for name, body in site_files(path):
            if "htm" not in name or not body:
                continue
            number += 1
            if number % every == 0:
                url = f"http://h{site}.test/{number}.html"
                bodies[url] = body
                kinds = {
                    1: ("gzip", gzip.compress),
                    2: ("br", lambda data: brotli.compress(data, quality=1)),
                }
                coding = kinds.get(number // every % 3)
                web.on(
                    url.removeprefix("http://"),
                    ok(coding[1](body), f"Content-Encoding: {coding[0]}") if coding else ok(body),
                )
    assert len(bodies) >= (5000 if every == 1 else 30)
    outcomes = shard.crawl(
        [*bodies], latency_factor=0, max_body_bytes=12 * MIB, max_wire_bytes=12 * MIB
    )
    store = open_store(str(shard.folder / "corpus"))
    for url, row in outcomes.items():
        assert row["reason"] is None
        page = read_response(store, row["warc_file"], row["warc_offset"], row["warc_length"])
        assert page.body == bodies[url]


def test_hostile_bodies_bring_nobody_down(shared: Path, web: Web, shard: Shard) -> None:
    """Real broken bodies, bombs and fuzzers' finds: as raw answers, and as bodies under every content encoding."""
    urls = []
    for number, (name, data) in enumerate(
        islice(site_files(shared / "hostile/hostile.tar.zst"), 0, None, 3)
    ):
        host = f"h{number}.test"
        kind = ("gzip", "deflate", "br", "zstd", "identity")[number % 5]
        raw = "httpresp" in name
        web.on(
            f"{host}/x", answer_and_close(data) if raw else ok(data, f"Content-Encoding: {kind}")
        )
        urls.append(f"http://{host}/x")
    assert len(urls) > 250
    outcomes = shard.crawl(urls, total_timeout_s=10.0, retries=0)
    reasons = Counter(row["reason"] for row in outcomes.values())
    assert not reasons.keys() - {
        None,
        Reason.BAD_ENCODING,
        Reason.BAD_RESPONSE,
        Reason.CONNECTION_LOST,
        Reason.DECOMPRESSION_BOMB,
        Reason.EMPTY_BODY,
        Reason.HTTP_STATUS,
        Reason.REDIRECT_INVALID,
        Reason.REDIRECT_LOOP,
        Reason.TIMEOUT,
        Reason.WRONG_TYPE,
    }
    assert len(reasons) >= 5, reasons


def answer_and_close(data: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return script


def test_a_batch_on_an_object_store(web: Web, s3_bucket: str, tmp_path: Path) -> None:
    """Links, WARC and pages on S3; the shard's state is mirrored there while it runs and gone afterwards."""
    run = Batch(tmp_path, f"{s3_bucket}/corpus", web.port, {"delay_s": 0.0, "segment_bytes": 4096})
    urls = [f"http://h{i % 3}.test/{i}" for i in range(20)]
    run.links(urls)
    pages = run.crawl()
    store = open_store(run.root)
    for row in pages:
        page = read_response(store, row["warc_file"], row["warc_offset"], row["warc_length"])
        assert page.url == row["url"]
    assert len(pages) == 20
    assert not [path for path, _ in store.files("work/b", recursive=True) if "crawl.fetch" in path]


@pytest.mark.soak
def test_two_workers_fetch_nearly_twice_as_fast_where_servers_are_slow(tmp_path: Path) -> None:
    """At 200 ms per answer and 8 requests in flight per worker, a second worker is worth 1.8 of one or more."""

    def rate(workers: int) -> float:
        folder = tmp_path / str(workers)
        folder.mkdir()
        with serving(Web(delay_s=0.2)) as web:
            config = {
                "delay_s": 0.0,
                "concurrency": 8,
                "max_in_flight_per_ip": 999,
                "shards": workers,
            }
            run = Batch(folder, str(folder / "corpus"), web.port, config)
            run.links([f"http://h{i % 200}.test/{i}" for i in range(1200)])
            run.crawl("--workers", str(workers))
            times = sorted(hit.began for hit in web.hits)
            return (len(times) - 1) / (times[-1] - times[0])

    one, two = rate(1), rate(2)
    print(json.dumps({"one": one, "two": two}))
    assert two >= 1.8 * one
