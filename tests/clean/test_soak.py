"""Twenty thousand real pages with fifty that were made to hurt among them."""

from __future__ import annotations

import os
import random
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from clean.config import CleanConfig
from clean.document import Document, Page, Result, document_function
from clean.pages import process
from clean.sandbox import Sandbox
from tests.clean.poison import POISON

NUM_GOOD = 20_000
NUM_POISON = 50
NUM_ROUNDS = 4


def archived(root: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    for archive in sorted(root.glob(pattern)):
        with zstandard.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as files:
            for member in files:
                handle = files.extractfile(member) if member.isfile() else None
                if handle is not None:
                    yield member.name, handle.read()


def rss_mb(pid: int | None) -> float:
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if pid is not None and status.exists() else []
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def page(body: bytes, content_type: str | None = "text/html") -> Page:
    return Page("https://a.example/", "https://a.example/", content_type, None, body)


def summary(result: Result) -> tuple[str, int]:
    """What must be the same in every round."""
    return (
        (result.title or "", hash(result.text))
        if isinstance(result, Document)
        else (result.reason, hash(result.detail))
    )


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_poison_among_many_pages(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No good page is lost or changed, no process outlives its limits, memory stays flat within 10 %."""
    bodies = [
        body
        for name, body in archived(shared / "loopweb", "*.tar.zst")
        if name.endswith((".html", ".htm"))
    ]
    bodies = bodies[: NUM_GOOD // NUM_ROUNDS]
    assert len(bodies) == NUM_GOOD // NUM_ROUNDS
    places = random.Random(11).sample(range(NUM_GOOD), NUM_POISON)
    poison = dict(zip(sorted(places), [*POISON] * NUM_POISON, strict=False))
    config = CleanConfig.model_validate({"sandbox": {"cpu_s": 3, "memory_mb": 512}})
    fates: Counter[str] = Counter()
    first: list[tuple[str, int]] = []
    own, workers = [], []
    with Sandbox("clean.document:program", config.model_dump_json(), config.sandbox) as opened:
        for number in range(NUM_GOOD):
            if number in poison:
                result = process(page(POISON[poison[number]]), opened)
                fates["kept" if isinstance(result, Document) else str(result.reason)] += 1
            index = number % len(bodies)
            seen = summary(process(page(bodies[index]), opened))
            if number < len(bodies):
                first.append(seen)
            assert seen == first[index], (
                f"page {number} differs from its first round: {seen}, {first[index]}"
            )
            if number % 100 == 99:
                own.append(rss_mb(os.getpid()))
                workers.append(rss_mb(opened.pid))
    per_round = len(own) // NUM_ROUNDS
    own_peaks = [max(own[i : i + per_round]) for i in range(0, len(own), per_round)]
    peaks = [max(workers[i : i + per_round]) for i in range(0, len(workers), per_round)]
    with capsys.disabled():
        kept = sum(reason not in set(fates) for reason, _ in first)
        print(
            f"\n{NUM_GOOD:,} good pages ({kept} of {len(first)} with text), {NUM_POISON} poison: {dict(fates)}"
        )
        print(f"resident, MB, highest per round: this process {own_peaks}, its worker {peaks}")
        print("worker every 1,000 pages:", [round(each) for each in workers[9::10]])
    assert fates.total() == NUM_POISON
    assert max(own_peaks) <= 1.1 * own_peaks[0]
    assert max(peaks) <= 1.1 * min(peaks)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_hostile_file_has_a_result(shared: Path) -> None:
    """Parsers' own test suites, fuzzers' findings and broken archives, under every type that a server may claim."""
    document = document_function(CleanConfig())
    files = list(archived(shared / "hostile", "hostile.tar.zst"))
    assert len(files) > 800
    for _, body in files:
        for content_type in ("text/html", "text/plain", None, "text/html; charset=utf-16"):
            document(page(body, content_type))
