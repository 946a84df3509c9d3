"""The whole way from a WARC file to tokens, CPU by stage, beside datatrove's FineWeb recipe.

Ours are the stage commands, as a user runs them: import, clean, dedup and shards, each a process
with its workers. datatrove runs its reader, trafilatura and the filters of FineWeb in one process
(`LocalPipelineExecutor`), and writes JSON Lines: its language filter and its tokenizer would
download files, so the rest of the recipe is compared. Pages are those of the extraction set,
repeated with a mark if more are wanted.

    python -m bench.job [--pages 1000] [--workers 1 2] [--preset webtext]
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.material import shared
from bench.measure import arguments
from crawl.warc.writer import digest, http_block, record_bytes
from tools.annotated_pages import read_bodies

BATCH: Final = "2026-01"
ROOT: Final = Path(__file__).parents[1]
DATATROVE: Final = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
)
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers.jsonl import JsonlWriter

LocalPipelineExecutor(
    pipeline=[
        WarcReader(sys.argv[1], glob_pattern="*.warc.gz"),
        Trafilatura(favour_precision=True),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
        JsonlWriter(sys.argv[2]),
    ],
    tasks=1,
    logging_dir=sys.argv[3],
).run()
"""

# Runs a command and prints the resources of it and of the processes that it waited for. A process
# of its own: a child begins with the peak memory of its parent, and a bench has 300 MB.
MEASURED: Final = """
import resource, subprocess, sys

code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""


class Cost(NamedTuple):
    """Resources of a process and its children."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pages", type=int, default=1000, help="pages (default: 1000)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--preset", default="webtext", help="clean.quality.preset")
    args = parser.parse_args()

    print("| job | step | CPU s | ms a page | wall s | largest process MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        warc = write_warc(Path(folder) / "in" / "pages.warc.gz", args.pages)
        for workers in args.workers:
            name = f"ours, {workers} worker{'s' * (workers > 1)}, {args.preset}"
            _show(
                name,
                ours(Path(folder) / f"corpus-{workers}", warc, workers, args.preset),
                args.pages,
            )
        if importlib.util.find_spec("datatrove") and importlib.util.find_spec("warcio"):
            _show("datatrove, 1 task, fineweb", datatrove(Path(folder), warc), args.pages)


def ours(corpus: Path, warc: Path, workers: int, preset: str) -> dict[str, Cost]:
    """The four stages, one command each."""
    common = ["--corpus", str(corpus), "--batch", BATCH, "--workers", str(workers)]
    commands = {
        "import": ["crawl.run", *common, "--warc", str(warc)],
        "clean": ["clean.run", *common, "--set", f"clean.quality.preset={preset}"],
        "dedup": ["dedup.run", *common],
        "shards": ["shards.run", *common],
    }
    return {step: run([sys.executable, "-m", *command]) for step, command in commands.items()}


def datatrove(folder: Path, warc: Path) -> dict[str, Cost]:
    """The library's recipe as one pipeline."""
    script = [sys.executable, "-c", DATATROVE, str(warc.parent)]
    return {"read, extract, filter": run([*script, str(folder / "out"), str(folder / "logs")])}


def run(command: Sequence[str]) -> Cost:
    """Run a command and return what it took. Raises SystemExit if it fails."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    if done.returncode:
        said = done.stderr[-2000:].decode("utf-8", "replace")
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{said}")

    cpu_s, peak_kib = map(float, done.stdout.split())
    return Cost(cpu_s, time.monotonic() - start, peak_kib / 1024)


def write_warc(path: Path, count: int) -> Path:
    """A WARC file of real pages, one gzip member a record, with the fields of Common Crawl's."""
    path.parent.mkdir(parents=True)
    with path.open("wb") as stream:
        for number, (url, body) in enumerate(itertools.islice(_pages(), count)):
            fields = [
                ("WARC-Record-ID", f"<urn:uuid:00000000-0000-4000-8000-{number:012}>"),
                ("WARC-Date", "2026-01-02T03:04:05Z"),
                ("WARC-Target-URI", url),
                ("WARC-Payload-Digest", digest(body)),
            ]
            block = http_block("HTTP/1.1 200 OK", [(b"Content-Type", b"text/html")], body)
            record = record_bytes("response", fields, block, "application/http; msgtype=response")
            stream.write(gzip.compress(record, 6))

    return path


def _pages() -> Iterator[tuple[str, bytes]]:
    """Pages of the extraction set under addresses of their own, over and over."""
    for turn in itertools.count():
        for row, body in read_bodies(shared() / "extraction"):
            if row["source"] in ("wcxb", "aeb"):
                yield f"http://{row['id']}.example/{turn}", body


def _show(name: str, costs: dict[str, Cost], pages: int) -> None:
    total = Cost(
        sum(own.cpu_s for own in costs.values()),
        sum(own.wall_s for own in costs.values()),
        max(own.peak_mb for own in costs.values()),
    )
    rows = costs if len(costs) == 1 else costs | {"all": total}
    for step, own in rows.items():
        per_page = own.cpu_s / pages * 1e3
        print(
            f"| {name} | {step} | {own.cpu_s:.1f} | {per_page:.2f} | {own.wall_s:.0f} | {own.peak_mb:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
