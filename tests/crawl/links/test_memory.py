"""Readers of one machine never hold more memory than its limit, and a reader that is killed holds none."""

from __future__ import annotations

import io
import multiprocessing
import random
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from crawl.links import dump_memory
from crawl.links.dump_memory import (
    UNIT_BYTES,
    MemoryLimitError,
    ReadingConfig,
    enlarge,
    machine_bytes,
    reserved,
)
from crawl.links.dump_windows import memory_bytes


def test_readers_together_stay_under_the_limit_and_all_are_served(tmp_path: Path) -> None:
    limit, rng = 4 * UNIT_BYTES, random.Random(1)
    needs = [rng.choice((1, 1, 2, 3, 4)) * UNIT_BYTES for _ in range(16)]
    held, most, done = 0, 0, 0
    lock = threading.Lock()

    def read(num_bytes: int) -> None:
        nonlocal held, most, done
        with reserved(num_bytes, limit, tmp_path):
            with lock:
                held += num_bytes
                most = max(most, held)
            time.sleep(0.01)
            with lock:
                held -= num_bytes
                done += 1

    threads = [threading.Thread(target=read, args=(need,)) for need in needs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == len(needs)
    assert held == 0
    assert UNIT_BYTES < most <= limit


def test_a_reader_larger_than_the_limit_reads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits for long says so, once."""
    monkeypatch.setattr(dump_memory, "TELL_AFTER_S", 0.05)
    looks: list[int] = []

    def sleep(seconds: float) -> None:
        looks.append(len(caplog.records))
        time.sleep(0.01)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(dump_memory, "time", clock)
    with reserved(3 * UNIT_BYTES, UNIT_BYTES, tmp_path):
        waiting = threading.Thread(target=_hold, args=(UNIT_BYTES, UNIT_BYTES, tmp_path, 0.0))
        waiting.start()
        # Until it has looked some times more since it said so.
        deadline = time.monotonic() + 60
        while sum(looks) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert waiting.is_alive()
    waiting.join(60)
    assert not waiting.is_alive()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "waiting for 256 MiB of memory"
    ]


def test_the_memory_of_a_killed_reader_is_free(tmp_path: Path) -> None:
    reader = multiprocessing.get_context("spawn").Process(
        target=_hold, args=(2 * UNIT_BYTES, 2 * UNIT_BYTES, tmp_path, 600.0)
    )
    reader.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.02)
    reader.kill()
    reader.join()
    with reserved(2 * UNIT_BYTES, 2 * UNIT_BYTES, tmp_path):
        pass


def test_readers_that_come_to_need_more_never_wait_for_each_other(tmp_path: Path) -> None:
    """All hold half of what there is when all want three quarters."""
    limit, barrier = 4 * UNIT_BYTES, threading.Barrier(2)
    held, most, done = 0, 0, 0
    lock = threading.Lock()

    def read() -> None:
        nonlocal held, most, done
        with reserved(2 * UNIT_BYTES, limit, tmp_path):
            barrier.wait(60)
            enlarge(3 * UNIT_BYTES)
            with lock:
                held += 3
                most = max(most, held)
            enlarge(UNIT_BYTES)  # no less than before
            time.sleep(0.2)
            with lock:
                held -= 3
                done += 1

    threads = [threading.Thread(target=read, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (done, most) == (2, 3)
    with reserved(limit, limit, tmp_path):
        pass  # all was given back


def test_more_than_the_limit_is_refused_and_nobody_asks_without_a_reservation(
    tmp_path: Path,
) -> None:
    enlarge(100 * UNIT_BYTES)
    with reserved(UNIT_BYTES, 2 * UNIT_BYTES, tmp_path):
        enlarge(2 * UNIT_BYTES)
        with pytest.raises(
            MemoryLimitError, match=r"takes 768 MiB.*the limit is 512 MiB.*memory_bytes=805306368"
        ):
            enlarge(3 * UNIT_BYTES)
    enlarge(100 * UNIT_BYTES)


def test_the_limit_is_the_setting_or_follows_the_machine() -> None:
    assert ReadingConfig(memory_bytes=5).limit_bytes() == 5
    assert 0 < ReadingConfig().limit_bytes() < machine_bytes()


def _hold(num_bytes: int, limit_bytes: int, folder: Path, seconds: float) -> None:
    with reserved(num_bytes, limit_bytes, folder):
        (folder / "held").touch()
        time.sleep(seconds)


def test_a_wait_is_reported_once_after_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: len(slept) / 10, sleep=slept.append)
    monkeypatch.setattr(dump_memory, "time", clock)
    pauses, reported = dump_memory._pauses("waiting"), []
    for number in range(1, 300):
        next(pauses)
        reported += [number] * (len(caplog.records) - len(reported))
    assert reported == [100]
    assert {*slept} == {0.1}


@pytest.mark.parametrize(
    ("kept", "limit"),
    [("100", 75), ("max", 3 << 30), ("", 3 << 30), (str(1 << 70), 3 << 30)],
)
def test_readers_have_three_quarters_of_the_machine_or_its_container(
    kept: str, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{kept}\n")
    monkeypatch.setattr(dump_memory, "CGROUP_LIMIT", tmp_path / "memory.max")
    monkeypatch.setattr(dump_memory.os, "sysconf", lambda name: 1 << 16)
    assert ReadingConfig().limit_bytes() == limit
    assert ReadingConfig(memory_bytes=5).limit_bytes() == 5


@pytest.mark.parametrize(("num_bytes", "fits"), [(99, True), (100, True), (101, False)])
def test_a_need_may_be_as_large_as_the_limit(num_bytes: int, fits: bool) -> None:
    if fits:
        dump_memory.require(num_bytes, 100)
    else:
        with pytest.raises(MemoryLimitError, match="memory_bytes=101"):
            dump_memory.require(num_bytes, 100)


@pytest.mark.parametrize(
    ("num_mib", "num_units"), [(1, 1), (255, 1), (256, 1), (257, 2), (512, 2), (513, 3)]
)
def test_a_reservation_is_counted_in_units_of_256_mib(
    num_mib: int, num_units: int, tmp_path: Path
) -> None:
    """Beside them is the file of the queue."""
    with reserved(num_mib << 20, 0, tmp_path):
        assert len([*tmp_path.iterdir()]) == num_units + 1
        enlarge(num_units << 28)
        assert len([*tmp_path.iterdir()]) == num_units + 1
        with pytest.raises(MemoryLimitError):
            enlarge((num_units << 28) + 1)


def test_a_reader_needs_256_mib_beside_its_window() -> None:
    assert memory_bytes(io.BytesIO(b"")) == 256 << 20
