"""Commands on a corpus of many months: CPU and wall time on a disk, or on S3 with latency.

    python -m bench.growth [--batches 200] [--parts 64] [--s3] [--latency-ms 30] [--json]

The corpus has a snapshot after each batch. Its batches are copies of two real ones under other
names, and the page that is taken down is of the first: in one batch and in every snapshot. With
--s3 the corpus is copied to moto's server behind a delaying proxy first. That takes minutes with
many parts, so use few: the commands read manifests, lists, and the parts of one page. CPU time of
the server is not counted, but it takes its share of the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.objectstore import Store as Server
from bench.objectstore import running_store
from corpus.run.arguments import Main
from corpus.storage.store import open_store
from corpus.tables.parquet import read_table
from tests.support import big_corpus, grown_corpus
from webtext.reports import status
from webtext.takedown import command as takedown
from webtext.upkeep import prune, refresh

UPLOADERS = 8
# Seconds of CPU at 200 batches, 64 parts and 200 snapshots on a disk; on S3 five times that, waiting
# included.
GOALS = {"status": 2.0, "refresh --dry-run": 3.0, "prune --keep 5": 5.0, "forget of a page": 15.0}
FACTOR_ON_S3 = 5


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batches", type=int, default=200, metavar="N")
    parser.add_argument("--parts", type=int, default=64, metavar="N")
    parser.add_argument("--s3", action="store_true", help="on an object store")
    parser.add_argument("--latency-ms", type=float, default=30.0, metavar="MS")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON at the end")
    args = parser.parse_args(argv)
    logging.disable(logging.WARNING)

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        local = big_corpus.build(Path(folder), args.batches, args.parts).root
        opened = (
            _on_s3(local, args.latency_ms) if args.s3 else contextlib.nullcontext((local, None))
        )
        with opened as (root, server):
            commands = _commands(root, folder)
            figures = {name: _timed(*each, server) for name, each in commands.items()}

    place = f"S3, {args.latency_ms:g} ms" if args.s3 else "disk"
    print(f"{args.batches} batches x {args.parts} parts, {args.batches} snapshots, {place}")
    for name, (wall_s, cpu_s, requests) in figures.items():
        goal = f"{GOALS[name] * FACTOR_ON_S3:g} s" if args.s3 else f"{GOALS[name]:g} s of CPU"
        asked = f"   {requests:,} requests" if args.s3 else ""
        print(f"  {name:<20}{wall_s:>7.1f} s  {cpu_s:>6.1f} s of CPU   goal {goal}{asked}")
    if args.json:
        names = ("wall_s", "cpu_s", "requests")
        document = {key: dict(zip(names, each, strict=True)) for key, each in figures.items()}
        print(json.dumps(document))
    return 0


def _commands(root: str, folder: str) -> dict[str, tuple[Main, list[str]]]:
    """The commands, the one that changes the corpus last."""
    corpus = ["--corpus", root]
    first = big_corpus.batch_name(0)
    url = read_table(open_store(root), "links", first, ["url"])["url"][0].as_py()
    sets = [word for each in grown_corpus.SETTINGS for word in ("--set", each)]
    dumps = ["--set", f"refresh.dumps={folder}/RS_*.zst"]
    return {
        "status": (status.main, corpus),
        "refresh --dry-run": (refresh.main, [*corpus, "--dry-run", *sets, *dumps]),
        "prune --keep 5": (prune.main, [*corpus, "--keep", "5"]),
        "forget of a page": (takedown.main, [*corpus, "--url", url, "--why", "bench", "--yes"]),
    }


def _timed(run: Main, words: list[str], server: Server | None) -> tuple[float, float, int]:
    before = server.count() if server else 0
    began, used = time.monotonic(), time.process_time()
    code = run(words)
    assert code == 0, f"{words} ended with {code}"
    took = time.monotonic() - began, time.process_time() - used
    return *took, server.count() - before if server else 0


@contextlib.contextmanager
def _on_s3(root: str, latency_ms: float) -> Iterator[tuple[str, Server]]:
    """The corpus on an object store, which answers late from here on."""
    import boto3

    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with running_store() as store:
        os.environ["AWS_ENDPOINT_URL"] = store.endpoint
        client = boto3.client("s3", endpoint_url=store.behind)
        client.create_bucket(Bucket="growth")

        def upload(path: Path) -> None:
            key = f"c/{path.relative_to(root)}"
            client.put_object(Bucket="growth", Key=key, Body=path.read_bytes())

        with ThreadPoolExecutor(UPLOADERS) as pool:
            list(pool.map(upload, [path for path in Path(root).rglob("*") if path.is_file()]))
        shutil.rmtree(root)
        store.latency(latency_ms / 1000)
        yield "s3://growth/c", store


if __name__ == "__main__":
    raise SystemExit(main())
