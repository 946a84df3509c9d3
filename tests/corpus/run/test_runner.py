"""The laws of the runner, on a toy stage that has all three shapes of work."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import BusyError, FatalError, InputError, PartitionError, SchemaError
from corpus.run import funnel, progress, runner
from corpus.run.executors import PoolExecutor, SerialExecutor, open_executor
from corpus.run.plan import Run
from corpus.run.progress import Meter
from corpus.run.runner import StageResult, run_steps
from corpus.storage.lease import hold
from corpus.storage.store import Store
from corpus.tables.manifest import find_manifest, read_manifest
from tests.support import child, toy_stage

REPOSITORY = Path(__file__).parents[3]


def run_toy(
    store: Store, executor: Any = None, *, rebuild: bool = False, **config: Any
) -> StageResult:
    run = Run(
        stage="toy",
        config=toy_stage.ToyConfig(**config),
        store=store,
        batch="b",
        executor=executor or SerialExecutor(),
        num_parts=5,
        rebuild=rebuild,
    )
    return run_steps(run, toy_stage.STEPS)


def command(store: Store, *extra: str, executor: str = "pool") -> list[str]:
    toy_file = str(Path(toy_stage.__file__))
    return [
        sys.executable,
        toy_file,
        "--corpus",
        store.root,
        "--batch",
        "b",
        "--executor",
        executor,
        "--workers",
        "2",
        *extra,
    ]


def environment() -> dict[str, str]:
    path = f"{REPOSITORY}{os.pathsep}{Path(toy_stage.__file__).parent}"
    return {**os.environ, "PYTHONPATH": path}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = toy_stage.make_corpus(str(tmp_path_factory.mktemp("reference")))
    run_toy(store)
    return toy_stage.committed_bytes(store)


def test_counts_add_up_and_scratch_is_gone(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    result = run_toy(store)
    assert result.counts["rows"]["kept"] + result.counts["rows"]["too_short"] == 500
    assert result.counts["total"]["domains"] == 17
    assert store.files("work", recursive=True) == []


def test_a_reduce_knows_how_many_rows_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time left was 0 s from the first bucket to the last."""
    totals: dict[str, int | None] = {}

    def meter(label: str, num_parts: int, total_rows: int | None) -> Meter:
        totals[label] = total_rows
        return Meter(label, num_parts, total_rows)

    monkeypatch.setattr(progress, "Meter", meter)
    run_toy(toy_stage.make_corpus(str(tmp_path)))
    assert totals["toy/domains (reduce)"] == 500


def test_a_damaged_receipt_counts_for_nothing(
    tmp_path: Path,
    reference: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of a version before, or cut by a failing disk: `webtext verify` would find nothing of it."""
    store = toy_stage.make_corpus(str(tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise FatalError("no commit")

    with monkeypatch.context() as patch:
        patch.setattr(runner, "commit_table", refuse)
        with pytest.raises(FatalError, match="no commit"):
            run_toy(store)
    receipts = [path for path, _ in store.files("work", recursive=True) if path.endswith(".json")]
    assert len(receipts) == 5
    for path, data in zip(receipts, (b"", b"{}", b"[", b'{"rows": 1}'), strict=False):
        store.write_bytes(path, data)
    store.write_bytes(f"{receipts[0].rpartition('/')[0]}/notes.txt", b"of somebody")
    run_toy(store)
    assert caplog.text.count("is not a receipt") == 5
    assert toy_stage.committed_bytes(store) == reference


def test_second_run_does_nothing(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    run_toy(store)
    before = {
        path: (tmp_path / path).stat().st_mtime_ns for path, _ in store.files("", recursive=True)
    }
    assert run_toy(store).up_to_date
    assert before == {
        path: (tmp_path / path).stat().st_mtime_ns for path, _ in store.files("", recursive=True)
    }


def test_what_a_kill_behind_the_last_commit_left_goes_with_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a batch that is done would count as one at work; an unfinished rebuild under other settings stays."""
    store = toy_stage.make_corpus(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "delete_dir", lambda *_: None)
        run_toy(store)
    (tmp_path / "rows/b/.tmp-_manifest.json-1-00").touch()
    rebuild = "work/b/toy.split-ffffffffffff/map/part-00000.json"
    store.write_bytes(rebuild, b"{}")
    assert len(store.folders("work/b")) == 5, (
        "receipts of three steps, a scratch table, the rebuild"
    )
    assert run_toy(store).up_to_date
    assert [path for path, _ in store.files("work", recursive=True)] == [rebuild]
    assert list(tmp_path.rglob(".tmp-*")) == []
    rest = "work/b/by_domain/part-00000.parquet"  # of a scratch table that was half deleted
    store.write_bytes(rest, b"")
    assert run_toy(store).up_to_date
    assert not store.exists(rest)
    store.write_bytes(rest, b"")
    rebuild = (
        "work/b/toy.domains-ffffffffffff/reduce/part-00000.json"  # now of one that is being made
    )
    store.write_bytes(rebuild, b"{}")
    assert run_toy(store).up_to_date
    assert store.exists(rest)
    assert store.exists(rebuild)


def test_settings_outside_the_fingerprint_change_nothing(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    run_toy(store)
    assert run_toy(store, slow_s=0.01).up_to_date


def test_pool_of_two_gives_the_same_bytes(tmp_path: Path, reference: dict[str, bytes]) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    with open_executor("pool", 2) as executor:
        run_toy(store, executor)
    assert toy_stage.committed_bytes(store) == reference


def test_ray_of_two_gives_the_same_bytes_and_survives_a_killed_driver(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    store = toy_stage.make_corpus(str(tmp_path / "c"))
    (tmp_path / "log").mkdir()
    arguments = ["--set", "clean.slow_s=1.0", "--set", f"clean.log_dir={tmp_path / 'log'}"]
    driver = subprocess.Popen(
        command(store, *arguments, executor="ray"), env=environment(), stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not receipts(store) and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    assert receipts(store), "no part was finished before the kill"
    assert find_manifest(store, "rows", "b") is None
    done = {name: stamps(tmp_path / "log", name) for name in receipts(store)}
    finished = subprocess.run(
        command(store, *arguments, executor="ray"),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert toy_stage.committed_bytes(store) == reference
    assert {name: stamps(tmp_path / "log", name) for name in done} == done, (
        "a part with a receipt was made twice"
    )


def receipts(store: Store) -> list[int]:
    """Indices of the finished parts of the toy's map step."""
    return [
        int(path[-10:-5]) for path, _ in store.files("work/b", recursive=True) if "/map/" in path
    ]


def stamps(log: Path, part: int) -> int:
    return sum(1 for name in os.listdir(log) if name.startswith(f"{part}-"))


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 10))]
)
def test_killed_at_a_random_moment_then_resumed_gives_the_same_bytes(
    tmp_path: Path, reference: dict[str, bytes], seed: int
) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    chance = random.Random(seed)
    for _ in range(2):
        driver = subprocess.Popen(
            command(store, "--set", "clean.slow_s=0.15"),
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.5, 2.0))
        driver.kill()
        driver.wait()
    child.run(command(store), environment())
    assert toy_stage.committed_bytes(store) == reference
    leftovers = [path.name for path in tmp_path.rglob(".tmp-*")]
    # A kill while the lease is written leaves that; it stays, since another host may be writing its own.
    assert [name for name in leftovers if not name.startswith(".tmp-lock.json-")] == []


def test_killed_worker_costs_its_own_attempt_only(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    executor = PoolExecutor(2)
    killed = []
    inner = executor.wait

    def wait(timeout_s: float) -> Any:
        outcomes = inner(0.05)
        if not killed and executor._workers:
            victim = executor._workers[0].process
            victim.kill()
            killed.append(victim.pid)
        return outcomes

    executor.wait = wait  # type: ignore[method-assign]
    run_toy(store, executor, slow_s=0.1)
    executor.close()
    assert killed
    assert toy_stage.committed_bytes(store) == reference


def test_always_crashing_part_is_quarantined_and_the_rest_is_kept(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    store = toy_stage.make_corpus(str(tmp_path / "c"))
    log = tmp_path / "log"
    log.mkdir()
    with open_executor("pool", 2) as executor:
        with pytest.raises(
            PartitionError,
            match=r"1 of 5 parts failed and are quarantined .*part 3: crash: .*exit code 7",
        ):
            run_toy(store, executor, crash_part=3, log_dir=str(log))
        assert [stamps(log, part) for part in range(5)] == [1, 1, 1, 3, 1]
        assert sorted(receipts(store)) == [0, 1, 2, 4]
        assert find_manifest(store, "rows", "b") is None
        run_toy(store, executor, log_dir=str(log))
    assert [stamps(log, part) for part in range(5)] == [1, 1, 1, 4, 1], (
        "finished parts were made again"
    )
    assert toy_stage.committed_bytes(store) == reference


def test_step_that_loses_a_row_fails_the_run(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    with pytest.raises(FatalError, match="may not lose or add rows"):
        run_toy(store, lose_row=True)
    assert find_manifest(store, "rows", "b") is None


def test_other_config_is_refused_with_the_difference_and_rebuilt_on_demand(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    run_toy(store)
    old = toy_stage.committed_bytes(store)
    with pytest.raises(InputError, match=r"toy.least was 20, is now 22.*--rebuild"):
        run_toy(store, least=22)
    assert toy_stage.committed_bytes(store) == old
    result = run_toy(store, least=22, rebuild=True)
    assert result.counts["rows"]["kept"] < 320
    fresh = toy_stage.make_corpus(str(tmp_path / "fresh"))
    run_toy(fresh, least=22)
    assert sorted(toy_stage.committed_bytes(store).values()) == sorted(
        toy_stage.committed_bytes(fresh).values()
    ), "old files are gone, new ones equal"


def test_missing_part_is_an_error_and_an_empty_batch_is_not(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path / "a"))
    store.delete("links/b/part-00002.parquet")
    with pytest.raises(
        SchemaError, match=r"part-00002.parquet: the manifest names this part and it is missing"
    ):
        run_toy(store)
    empty = toy_stage.make_corpus(str(tmp_path / "e"), num_rows=0)
    assert run_toy(empty).counts["rows"]["rows"] == 0
    assert len(toy_stage.committed_bytes(empty)) == 15


@pytest.mark.parametrize("made_by_rebuild", [False, True])
def test_rebuild_makes_damaged_parts_again_and_nothing_else(
    tmp_path: Path, made_by_rebuild: bool
) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    run_toy(store, least=22)
    if made_by_rebuild:
        run_toy(store, rebuild=True)
    settings = {} if made_by_rebuild else {"least": 22}
    whole = toy_stage.committed_bytes(store)
    assert run_toy(store, rebuild=True, **settings).up_to_date, "--rebuild alone is no reason"
    parts = [part.file for part in read_manifest(store, "rows", "b").parts]
    (tmp_path / "rows/b" / parts[3]).unlink()
    flipped = bytearray((tmp_path / "rows/b" / parts[1]).read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "rows/b" / parts[1]).write_bytes(flipped)
    assert run_toy(store, **settings).up_to_date, "without being asked nobody reads what stands"
    assert not run_toy(store, rebuild=True, **settings).up_to_date
    assert toy_stage.committed_bytes(store) == whole


def test_missing_input_names_the_door(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path), batch="other")
    with pytest.raises(
        InputError,
        match=r"table links has no committed batch 'b'; run `webtext crawl --only links",
    ):
        run_toy(store)


def test_two_runs_on_a_batch_are_refused_and_a_dead_owner_is_not(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    with hold(store, "work/b/lock.json", what="first"):
        second = subprocess.run(
            command(store), env=environment(), capture_output=True, text=True, check=False
        )
        assert second.returncode == 2
        assert f"held by process {os.getpid()}" in second.stderr
        with pytest.raises(BusyError), hold(store, "work/b/lock.json", what="third"):
            pass
    holder = subprocess.Popen(
        command(store, "--set", "clean.slow_s=5"), env=environment(), stderr=subprocess.DEVNULL
    )
    while not store.exists("work/b/lock.json"):
        time.sleep(0.02)
    holder.kill()
    holder.wait()
    child.run(command(store), environment())


def test_ctrl_c_stops_within_seconds_and_says_how_to_go_on(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    driver = subprocess.Popen(
        command(store, "--set", "clean.slow_s=0.7"),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    while not receipts(store):
        time.sleep(0.02)
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=30)
    assert driver.returncode == 130
    assert "To continue: python -m clean.run --corpus" in errors
    assert not store.exists("work/b/lock.json")
    child.run(command(store), environment())
    assert toy_stage.committed_bytes(store) == reference


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(999, "999 B"), (1000, "1.0 KB"), (999_949, "999.9 KB"), (999_950, "1.0 MB"),
     (999_999_999, "1.0 GB"), (10**15, "1000.0 TB")],
)  # fmt: skip
def test_sizes_have_three_digits_before_the_point(num_bytes: int, text: str) -> None:
    assert funnel.size(num_bytes) == text


def test_json_is_the_last_line(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    shown = child.run(command(store, "--json", executor="serial"), environment())
    last = json.loads(shown.splitlines()[-1])
    assert last["counts"]["rows"]["kept"] == 320
    assert last["up_to_date"] is False


@settings(max_examples=15, deadline=None)
@given(num_rows=st.integers(0, 60), num_parts=st.integers(1, 9))
def test_any_partition_count_holds_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, num_rows: int, num_parts: int
) -> None:
    store = toy_stage.make_corpus(
        str(tmp_path_factory.mktemp("c")), num_rows=num_rows, num_parts=num_parts
    )
    run = toy_stage.run_of(store, num_parts)
    result = run_steps(run, toy_stage.STEPS)
    assert result.counts["rows"]["rows"] + result.counts["short"]["rows"] == num_rows
    assert result.counts["total"]["domains"] == min(num_rows, 17)


def test_a_terminal_sees_a_live_bar(tmp_path: Path) -> None:
    import pty

    store = toy_stage.make_corpus(str(tmp_path))
    ours, theirs = pty.openpty()
    environ = {**environment(), "TERM": "xterm", "COLUMNS": "160"}
    driver = subprocess.Popen(
        command(store, "--set", "clean.slow_s=0.3"),
        env=environ,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:
        pass  # the other end is closed: the run is over
    os.close(ours)
    assert driver.wait() == 0
    assert b"toy/split" in seen
    assert b"rows/s" in seen
    assert b"kept" not in seen, "pages are kept in the funnel only"
    assert b"  in " in seen, "time used"
    assert b"ETA" in seen
    assert seen.count(b"toy/split") > 2, "the bar is redrawn while the step runs"
