"""Odd answers and floods: pages that clients read, and the pace of other sites under attack.

Each odd answer (`tests/crawl/fetch/network/odd_answers.py`) is asked of a server on loopback by ours, curl, bare
Scrapy and bare aiohttp; a page counts if its text arrives. Then one worker crawls 20 ordinary hosts,
quiet and beside hosts that flood it in twelve ways.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from crawl.fetch.network.wire import HeadError, ResponseReader
from tests.crawl.fetch.network.odd_answers import FLOODS, ODD, PAGE
from tests.crawl.fetch.test_spider import cut_off
from tests.crawl.loopback import Script, Shard, Web, serving

MARK = b"The quick brown fox"
NUM_HOSTS, NUM_PAGES = 20, 40
DELAY_S = 0.1
# Answers of attackers in a turn.
NUM_FLOODS = 12
COST_PAGES = 60
# Most bytes that asyncio reads at once.
READ_BYTES = 256 << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--each", action="store_true", help="measure every flood by itself")
    parser.add_argument("--rounds", type=int, default=3, help="turns per flood (default: 3)")
    parser.add_argument("--costs", action="store_true", help="only the processor time of floods")
    parser.add_argument("--flood-server", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.flood_server:
        _serve_floods()
        return

    found: dict[str, Any] = {}
    if not (args.each or args.costs):
        found["odd_answers"] = odd_answers()
    found["floods"] = (
        costs(args.rounds)
        if args.costs
        else floods(args.rounds, [[name] for name in FLOODS] if args.each else [[*FLOODS]])
    )
    if args.json:
        print(json.dumps({"bench": "hostile_web", **found}))
        return

    if read := found.get("odd_answers"):
        print(f"odd answers read, of {len(ODD)}: " + ", ".join(f"{k} {v}" for k, v in read.items()))
    for name, numbers in found["floods"].items():
        print(f"{name:16}" + "".join(f"  {key} {value:.2f}" for key, value in numbers.items()))


def odd_answers() -> dict[str, int]:
    """Answers whose page arrives, by client."""
    with serving(Web()) as web, tempfile.TemporaryDirectory() as folder:
        for name, (answer, _) in ODD.items():
            web.on(f"{name}.test/x", cut_off(answer))
        shard = Shard(Path(folder), web.port)
        outcomes = shard.crawl([f"http://{name}.test/x" for name in ODD], retries=0)
        read = {"ours": sum(row["reason"] is None for row in outcomes.values())}
        if shutil.which("curl"):
            read["curl"] = sum(_by_curl(name, web.port) for name in ODD)
        read["scrapy"] = sum(_by_script(_SCRAPY, web.port))
        read["aiohttp"] = sum(_by_script(_AIOHTTP, web.port))
        return read


def _by_curl(name: str, port: int) -> bool:
    done = subprocess.run(
        [
            *("curl", "-s", "--compressed", "--max-time", "5", "--resolve"),
            *(f"{name}.test:{port}:127.0.0.1", f"http://{name}.test:{port}/x"),
        ],
        capture_output=True,
        check=False,
    )
    return MARK in done.stdout


def _by_script(script: str, port: int) -> list[bool]:
    """Run a client in its own process; one flag per answer."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(port), *ODD], capture_output=True, check=False, text=True
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout else []


_AIOHTTP = """
import aiohttp, asyncio, json, sys
port, names, found = sys.argv[1], sys.argv[2:], []
async def main():
    for name in names:
        async with aiohttp.ClientSession() as session:
            try:
                headers = {"Host": f"{name}.test"}
                async with session.get(f"http://127.0.0.1:{port}/x", headers=headers) as answer:
                    found.append(b"The quick brown fox" in await answer.read())
            except Exception:
                found.append(False)
asyncio.run(main())
print(json.dumps(found))
"""
_SCRAPY = """
import asyncio, json, sys
import scrapy
from scrapy.crawler import AsyncCrawlerRunner
port, names, found = sys.argv[1], sys.argv[2:], {}
class Bare(scrapy.Spider):
    name = "bare"
    async def start(self):
        for name in names:
            yield scrapy.Request(f"http://127.0.0.1:{port}/x", dont_filter=True,
                headers={"Host": f"{name}.test"}, meta={"name": name}, errback=lambda failure: None)
    def parse(self, response):
        found[response.meta["name"]] = b"The quick brown fox" in response.body
settings = {"TWISTED_REACTOR_ENABLED": False, "TELNETCONSOLE_ENABLED": False,
    "REMOTE_CONTROL_ENABLED": False, "LOG_ENABLED": False, "RETRY_ENABLED": False,
    "ROBOTSTXT_OBEY": False, "DOWNLOAD_DELAY": 0, "DOWNLOAD_TIMEOUT": 5}
async def main():
    await AsyncCrawlerRunner(settings).crawl(Bare)
asyncio.run(main())
print(json.dumps([found.get(name, False) for name in names]))
"""


def floods(rounds: int, attacks: list[list[str]]) -> dict[str, dict[str, float]]:
    """Medians per attack, in parts of quiet turns that begin, halve and end each round.

    Rates of a turn alone say little on a machine that others use.
    """
    names = [each[0] if len(each) == 1 else "all" for each in attacks]
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    quiet: list[dict[str, float]] = []
    half = (len(attacks) + 1) // 2
    for _ in range(rounds):
        beside = [_crawl([])]
        found = [_crawl(each) for each in attacks[:half]]
        beside.append(_crawl([]))
        if attacks[half:]:
            found += [_crawl(each) for each in attacks[half:]]
            beside.append(_crawl([]))

        quiet += beside
        for name, numbers in zip(names, found, strict=True):
            turns[name].append(
                {key: value / median(q[key] for q in beside) for key, value in numbers.items()}
            )

    return {
        "quiet": _medians(quiet),
        **{
            name: {**_medians(turns[name]), **_parsing(each)}
            for name, each in zip(names, attacks, strict=True)
        },
    }


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {key: median(turn[key] for turn in turns) for key in turns[0]}


def _parsing(names: list[str]) -> dict[str, float]:
    """Milliseconds in which an answer is parsed and nothing else is done, the longest of `names`."""
    return {"parsing_ms": max(1e3 * _parse_s(_beginning(name)) for name in names)}


def costs(rounds: int) -> dict[str, dict[str, float]]:
    """Processor time of a flood beyond that of a page, and the pace that it leaves to others.

    A worker has one thread, so it can delay no other host for longer than it works on the attack.
    That holds on a busy machine too, where rates of requests say little.
    """
    found = {}
    for name in FLOODS:
        extra_ms = median(_spent_ms(FLOODS[name]) - _spent_ms(None) for _ in range(rounds))
        found[name] = {
            "parsing_ms": _parsing([name])["parsing_ms"],
            "cost_ms": extra_ms,
            "least_pace": 1.0 - NUM_FLOODS * extra_ms / 1e3 / (NUM_PAGES * DELAY_S),
        }
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)

    return found


def _spent_ms(flood: Callable[[], Script] | None) -> float:
    """Processor milliseconds of a crawl per page, all of them of one kind."""
    urls = [f"http://x{host}.test/0" for host in range(COST_PAGES)]
    with serving(Web()) as web, tempfile.TemporaryDirectory() as folder:
        for host in range(COST_PAGES) if flood is not None else ():
            web.on(f"x{host}.test/0", flood())
        shard = Shard(Path(folder), web.port)
        before = resource.getrusage(resource.RUSAGE_THREAD)
        with contextlib.redirect_stdout(io.StringIO()):
            shard.crawl(urls)
        after = resource.getrusage(resource.RUSAGE_THREAD)

    return 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(urls)


def _parse_s(data: bytes) -> float:
    """Processor time until the reader refuses `data`, which comes in reads as asyncio makes them."""
    reader = ResponseReader()
    began_at = time.thread_time()
    with contextlib.suppress(HeadError):
        for at in range(0, len(data), READ_BYTES):
            reader.feed(data[at : at + READ_BYTES])
            if reader.failure is not None:
                break

    return time.thread_time() - began_at


def _beginning(name: str) -> bytes:
    """The first megabyte of a flood."""
    pieces: list[bytes] = []

    class Writer:
        def write(self, data: bytes) -> None:
            pieces.append(data)

        async def drain(self) -> None:
            if sum(map(len, pieces)) > 1 << 20:
                raise EOFError

    with contextlib.suppress(EOFError):
        asyncio.run(FLOODS[name]()(None, Writer()))  # type: ignore[arg-type]
    return b"".join(pieces)


def _crawl(attacks: list[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.crawl.hostile_web", "--flood-server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attacker:
        assert attacker.stdout is not None
        port = int(attacker.stdout.readline())
        try:
            with serving(Web()) as web, tempfile.TemporaryDirectory() as folder:
                found = _measure(web, port, Path(folder), attacks)
        finally:
            attacker.kill()

    print(f"{'+'.join(attacks) or 'quiet'}: {found}", file=sys.stderr, flush=True)
    return found


def _measure(web: Web, port: int, folder: Path, attacks: list[str]) -> dict[str, float]:
    config: dict[str, Any] = {
        "delay_s": DELAY_S,
        "jitter_frac": 0.0,
        "latency_factor": 0.0,
        "max_in_flight_per_ip": 256,
        "total_timeout_s": 3.0,
        "connect_to": {"h*.test": f"127.0.0.1:{web.port}", "*.test": f"127.0.0.1:{port}"},
    }
    shard = Shard(folder, web.port, config)
    good = [f"http://h{host}.test/{page}" for host in range(NUM_HOSTS) for page in range(NUM_PAGES)]
    bad = [
        f"http://x-{name}{i}.test/{page}" for name in attacks for i in range(4) for page in range(3)
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shard.links(good + bad)
    subprocess.run(
        [sys.executable, "-m", "crawl.fetch.worker", str(shard.spec_path)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rates = []
    for host in range(NUM_HOSTS):
        hits = web.of(f"h{host}.test")
        rates.append((len(hits) - 1) / (hits[-1].began - hits[0].began))

    return {
        "requests_per_s": median(rates),
        "worker_cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


def _serve_floods() -> None:
    # Attackers have machines of their own: here they get what the others leave.
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    web = Web()
    for name, script in FLOODS.items():
        for host in range(4):
            for page in range(3):
                web.on(f"x-{name}{host}.test/{page}", script())

    with serving(web):
        print(web.port, flush=True)
        threading.Event().wait()


assert MARK in PAGE
if __name__ == "__main__":
    main()
