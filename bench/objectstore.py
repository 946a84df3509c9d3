"""A stage on an object store and on a local disk: same pages, same workers, 20 ms per answer.

    python -m bench.objectstore [--pages 3000] [--stage clean] [--latency-ms 20] [--json]

The store is moto's S3 server in a process of its own, behind a delaying proxy. Both use CPU time of
the same machine, unlike a real store: `cpu_s` includes it, so the ratio of rates errs against us.
Pages are synthetic sentences; earlier stages run on each side unmeasured.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import arguments
from tests.support import grown_corpus

ROOT = Path(__file__).parents[1]
BEFORE = {"clean": (), "dedup": ("clean",), "shards": ("clean", "dedup")}
SERVER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.support import faulty_network
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
with faulty_network.between(f"http://{host}:{port}") as network:
    print(f"http://{host}:{port}", network.endpoint, flush=True)
    for line in sys.stdin:
        if line.strip() == "count":
            print(network.requests.total(), flush=True)
        else:
            network.latency_s = float(line)
            network.requests.clear()
"""


class Store:
    """The server and the network before it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.behind, self.endpoint = self._line().split()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _say(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()

    def latency(self, seconds: float) -> None:
        """Hold every answer back by this, and count requests from here on."""
        self._say(str(seconds))

    def count(self) -> int:
        """Requests since."""
        self._say("count")
        return int(self._line())


@contextlib.contextmanager
def running_store() -> Iterator[Store]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(ROOT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield Store(process)
        process.terminate()


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument(
        "--pages", type=int, default=3000, help="pages of the batch (default: 3000)"
    )
    parser.add_argument("--stage", choices=tuple(BEFORE), default="clean")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    import boto3

    logging.disable(logging.INFO)

    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    seconds: dict[str, list[float]] = {"local": [], "s3": []}
    requests = 0

    with tempfile.TemporaryDirectory() as folder, running_store() as store:
        os.environ["AWS_ENDPOINT_URL"] = store.endpoint
        boto3.client("s3", endpoint_url=store.behind).create_bucket(Bucket="bench")
        sites = grown_corpus.ordinary(args.pages)
        dump = grown_corpus.write_dump(Path(folder) / "RS_b.zst", sites)

        for number in range(args.rounds):
            for where, root in (("local", f"{folder}/c{number}"), ("s3", f"s3://bench/c{number}")):
                with contextlib.redirect_stdout(None):
                    grown_corpus.link(root, "b", dump)
                grown_corpus.fetch(grown_corpus.Store(root), "b", sites)
                for stage in BEFORE[args.stage]:
                    _run(stage, root, args.workers)
                store.latency(args.latency_ms / 1000)
                began = time.monotonic()
                _run(args.stage, root, args.workers)
                seconds[where].append(time.monotonic() - began)
                requests = store.count()
                store.latency(0)

    rates = {where: args.pages / median(took) for where, took in seconds.items()}
    slower = rates["local"] / rates["s3"]
    print(
        f"{args.stage}, {args.pages:,} pages, {args.workers} workers, "
        f"{args.latency_ms:g} ms, medians of {args.rounds}"
    )
    for where, rate in rates.items():
        print(f"  {where:<6}{rate:>9,.0f} pages/s  {median(seconds[where]):>7.2f} s")
    print(f"  s3 takes {slower:.2f} times as long, with {requests:,} requests")
    if args.json:
        print(json.dumps(_document(args, rates, seconds, slower, requests)))

    return 0


def _run(stage: str, root: str, workers: int) -> None:
    from webtext.stages import stage_main

    words = grown_corpus.arguments(root, "b")
    words[words.index("--executor") + 1] = "pool"
    with contextlib.redirect_stdout(None):
        assert stage_main(stage)([*words, "--workers", str(workers)]) == 0


def _document(
    args: Any,
    rates: dict[str, float],
    seconds: dict[str, list[float]],
    slower: float,
    requests: int,
) -> dict[str, Any]:
    return {
        "bench": "objectstore",
        "input": f"{args.pages} pages of made sentences, {args.stage}, {args.latency_ms:g} ms",
        "machine": (
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        ),
        "contestants": [
            {
                "name": f"ours-{where}",
                "rate": rates[where],
                "unit": "pages/s",
                "wall_s": median(seconds[where]),
                "quality": {"requests": requests} if where == "s3" else {},
            }
            for where in rates
        ],
        "ratios": {"ours-s3/ours-local": 1 / slower},
    }


if __name__ == "__main__":
    raise SystemExit(main())
