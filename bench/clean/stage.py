"""The whole clean stage over stored pages, with one worker and with two.

    python -m bench.clean.stage [--json]

Real pages are written into a WARC file and imported (`--warc`). Each turn then runs the command in
a corpus of its own, start of its processes included. Quality: `kept` is the share of pages that
become documents; `worker_mb` is the peak memory of one worker plus its extraction process;
`share_<step>` is the share of a page's CPU time spent in a step, measured separately in one
process.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import zstandard

from bench.material import shared
from bench.measure import Contestant, Turn, Work, arguments, compare, show
from clean import document, normalize, run
from clean.config import CleanConfig
from clean.document import Page
from clean.filters import language, quality, wikipedia
from clean.page_source import metadata
from crawl import run as crawl_run
from crawl.warc.writer import http_block, record_bytes

STEPS: dict[str, list[tuple[Any, str]]] = {
    "decode": [(document, "decode")],
    "metadata": [(metadata, "head_marks"), (metadata, "title"), (metadata, "published")],
    "normalize": [(normalize, "normalize"), (normalize, "judge")],
    "wikipedia": [(wikipedia, "judge_address"), (wikipedia, "judge_content")],
    "language": [(language, "detect")],
    "rules": [(quality, "judge"), (language, "judge")],
}
PAGES_OF_STEPS = 300


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--pages", type=int, default=1500, help="pages (default: 1500)")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="webtext-bench-") as folder:
        pages = list(itertools.islice(stored_pages(), args.pages))
        archive = Path(folder) / "pages.warc"
        archive.write_bytes(b"".join(_record(name, body) for name, body in pages))
        _import(f"{folder}/imported", archive)
        size = sum(len(body) for _, body in pages) / 1e6
        result = compare(
            "clean",
            [Contestant("ours", one_worker), Contestant("ours-2-workers", two_workers)],
            folder,
            description=f"{len(pages):,} pages of extraction/dev, {size:.0f} MB, from WARC to documents",
            unit="pages/s",
            rounds=args.rounds,
        )

    result["contestants"][0]["quality"] |= shares(pages[:PAGES_OF_STEPS])
    rows = result["contestants"]
    result["ratios"]["2 workers/1, wall"] = round(rows[1]["rate"] / rows[0]["rate"], 2)
    show(result, as_json=args.json)


def stored_pages() -> Iterator[tuple[str, bytes]]:
    """Yield (name, body) of real pages in the archive's order."""
    with (
        zstandard.open(shared() / "extraction" / "pages_dev.tar.zst") as stream,
        tarfile.open(fileobj=stream, mode="r|") as files,
    ):
        for member in files:
            handle = files.extractfile(member) if member.isfile() else None
            if handle is not None:
                yield Path(member.name).name.partition(".")[0], handle.read()


def one_worker(folder: str) -> Work:
    """The command with `--workers 1`."""
    return _work(folder, 1)


def two_workers(folder: str) -> Work:
    """The command with `--workers 2`."""
    return _work(folder, 2)


def _work(folder: str, workers: int) -> Work:
    corpus = tempfile.mkdtemp(prefix="corpus-", dir=folder)
    shutil.copytree(f"{folder}/imported", corpus, dirs_exist_ok=True)

    def work() -> Turn:
        with _watched() as peak:
            counts = _clean(corpus, workers)
        rows = counts["documents"]["rows"] + counts["documents_dropped"]["rows"]
        return Turn(rows, {"kept": counts["documents"]["rows"] / rows, "worker_mb": peak()})

    return work


def _import(corpus: str, archive: Path) -> None:
    """Make a batch of the WARC file."""
    with contextlib.redirect_stdout(None):
        code = crawl_run.main(["--corpus", corpus, "--batch", "b", "--warc", str(archive)])
    if code != 0:
        raise SystemExit(f"crawl.run ended with exit code {code}")


def _clean(corpus: str, workers: int, *more: str) -> dict[str, Any]:
    """Run the command and return its counts."""
    output = io.StringIO()
    argv = ["--corpus", corpus, "--batch", "b", "--workers", str(workers), "--json", *more]
    with contextlib.redirect_stdout(output):
        code = run.main(argv)
    if code != 0:
        raise SystemExit(f"clean.run ended with exit code {code}")

    counts: dict[str, Any] = json.loads(output.getvalue().splitlines()[-1])["counts"]
    return counts


def _record(name: str, body: bytes) -> bytes:
    headers = [(b"Content-Type", b"text/html")]
    fields = [
        ("WARC-Record-ID", f"<urn:page:{name}>"),
        ("WARC-Date", "2026-11-01T00:00:00Z"),
        ("WARC-Target-URI", f"http://{name[:2]}.example/{name}"),
    ]
    block = http_block("HTTP/1.1 200 OK", headers, body)
    return record_bytes("response", fields, block, "application/http; msgtype=response")


@contextlib.contextmanager
def _watched() -> Iterator[Callable[[], float]]:
    """Samples extraction processes and their parents; keeps the highest pair in MiB."""
    highest = 0.0
    ended = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not ended.wait(0.1):
            for status in Path("/proc").glob("[0-9]*/status"):
                with contextlib.suppress(OSError):
                    if b"clean.sandbox" in (status.parent / "cmdline").read_bytes():
                        own = _status(status)
                        parent = _status(Path(f"/proc/{own['PPid']}/status"))
                        if _is_ours(int(own["PPid"])):
                            highest = max(highest, (own["VmHWM"] + parent["VmHWM"]) / 1024)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: highest
    finally:
        ended.set()
        thread.join()


def _status(path: Path) -> Counter[str]:
    fields = (line.partition(":") for line in path.read_text().splitlines())
    return Counter(
        {
            key: int(value.split()[0])
            for key, _, value in fields
            if key in ("VmHWM", "PPid") and value.split()
        }
    )


def _is_ours(pid: int) -> bool:
    """True if a process is this one or one of its descendants."""
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = _status(Path(f"/proc/{pid}/status"))["PPid"]
    return False


def shares(pages: list[tuple[str, bytes]]) -> dict[str, float]:
    """The part of each step in the processor time of a page's way."""
    spent: Counter[str] = Counter()

    def timed(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            started = time.process_time()
            try:
                return function(*args)
            finally:
                spent[step] += time.process_time() - started

        return call

    work = document.document_function(CleanConfig())
    work(
        Page("http://e.example/", "http://e.example/", "text/html", None, pages[0][1])
    )  # opens what is opened late

    with contextlib.ExitStack() as stack:
        for step, functions in STEPS.items():
            for module, name in functions:
                patched = timed(step, getattr(module, name))
                stack.enter_context(mock.patch.object(module, name, patched))
        started = time.process_time()
        for name, body in pages:
            work(
                Page(
                    f"http://e.example/{name}", f"http://e.example/{name}", "text/html", None, body
                )
            )
        whole = time.process_time() - started

    spent["extract"] = whole - sum(spent.values())
    return {f"share_{step}": round(seconds / whole, 4) for step, seconds in spent.items()} | {
        "ms_a_page": round(1000 * whole / len(pages), 2)
    }


if __name__ == "__main__":
    main()
