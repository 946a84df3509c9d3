"""Small decisions of every command: where it runs, what a refusal leaves, its exit code and its help."""

from __future__ import annotations

import argparse
import contextlib
import io
import signal
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from corpus.config import Section
from corpus.errors import FatalError, InputError, Interrupted
from corpus.run import arguments, attempts, command, metrics, plan, task
from corpus.run.executors import SerialExecutor, opening
from corpus.run.progress import Meter
from corpus.run.runner import run_steps
from corpus.run.stragglers import Limits, Watch
from corpus.storage.store import open_corpus
from corpus.tables.manifest import find_manifest
from tests.support import toy_stage


@pytest.mark.parametrize(
    ("workers", "executor", "cluster", "small", "expected"),
    [
        (None, "auto", "", True, 1),
        (None, "auto", "", False, None),
        (None, "auto", "", None, None),
        (3, "auto", "", True, 3),
        (None, "pool", "", True, None),
        (None, "auto", "head:6379", True, None),
    ],
)
def test_a_small_batch_runs_here_unless_workers_or_an_executor_are_named(
    workers: int | None,
    executor: str,
    cluster: str,
    small: bool | None,
    expected: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[tuple[str, int | None]] = []

    @contextlib.contextmanager
    def open_executor(kind: str, workers: int | None, **_: Any) -> Iterator[SerialExecutor]:
        opened.append((kind, workers))
        yield SerialExecutor()

    monkeypatch.setattr(command, "open_executor", open_executor)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if cluster:
        monkeypatch.setenv("RAY_ADDRESS", cluster)
    open_corpus(str(tmp_path / "c"), create=True)
    args = argparse.Namespace(
        corpus=str(tmp_path / "c"), batch="b", workers=workers, executor=executor
    )
    is_small = None if small is None else lambda store, batch: cast(bool, small)
    with command.open_batch(args, "dedup.run", is_small=is_small):
        pass
    assert opened == [(executor, expected)]


@pytest.mark.parametrize(
    ("rows", "small"), [(None, False), (0, True), (4_000, True), (4_001, False)]
)
def test_four_thousand_documents_are_few(
    rows: int | None, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `docs/scale.md`: they are done before further processes have loaded their libraries."""
    found = None if rows is None else SimpleNamespace(rows=rows)
    monkeypatch.setattr(command, "find_manifest", lambda *_: found)
    assert command.has_few_documents(cast(Any, None), "b") is small


@pytest.mark.parametrize("there", ["nothing", "folder", "file"])
@pytest.mark.parametrize("wrote", [False, True])
def test_a_new_corpus_goes_if_its_first_input_is_refused(
    there: str, wrote: bool, tmp_path: Path
) -> None:
    """What was there before stays, and so does a corpus of which something is made."""
    folder = tmp_path / "c"
    if there != "nothing":
        folder.mkdir()
    if there == "file":
        (folder / "own").write_bytes(b"1")
    args = argparse.Namespace(corpus=str(folder), batch="b", workers=1, executor="serial")
    if there == "file":
        with (
            pytest.raises(InputError),
            command.open_batch(args, "crawl.run", create=True),
        ):
            raise AssertionError("a folder of something else is no new corpus")
        assert [path.name for path in folder.iterdir()] == ["own"]
        return

    with (
        pytest.raises(InputError, match="no such dump"),
        command.open_batch(args, "crawl.run", create=True) as opened,
    ):
        if wrote:
            opened.store.write_bytes("links/b/x", b"1")
        raise InputError("no such dump")
    assert folder.exists() == (wrote or there == "folder")
    assert (folder / "corpus.json").exists() == wrote


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 0, ""),
        (InputError("bad input"), 2, "error: bad input"),
        (FatalError("bad luck"), 1, "error: bad luck"),
        (Interrupted(signal.SIGTERM), 143, "; finished work is kept. To continue: "),
        (KeyboardInterrupt(), 130, "; finished work is kept. To continue: "),
        (OSError(28, "No space left\non device"), 1, "No space left on device; finished work"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_the_end_of_a_command_is_a_line_and_a_code(
    error: BaseException | None,
    code: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What a broken pipe is replaced by is no matter of the test's own output.
    monkeypatch.setattr(command, "os", SimpleNamespace(dup2=lambda *_: 0, open=lambda *_: 0, devnull="", O_WRONLY=0))  # fmt: skip
    monkeypatch.setattr(command, "sys", SimpleNamespace(stderr=command.sys.stderr, stdout=SimpleNamespace(fileno=lambda: 1), argv=["x"]))  # fmt: skip
    monkeypatch.setattr(command.logging, "basicConfig", lambda **_: None)

    def body(argv: Any) -> int:
        if error is not None:
            raise error
        return 0

    assert command.run_command(body, ["--corpus", "c"], stage="clean.run") == code
    shown = capsys.readouterr().err
    assert line in shown
    assert shown.count("\n") == bool(line)


class Few(Section):
    common = frozenset({"size"})
    size: int = 1
    """Size."""
    other: int = 2
    """Other."""


def test_help_counts_the_settings_that_it_leaves_out() -> None:
    shown = arguments._settings_help(Few, "dedup", Few.common)
    assert shown.startswith("common settings (TOML")
    assert shown.splitlines()[1:] == ["  dedup.size = 1", "      Size.", "1 more: --help-all"]
    shown = arguments._settings_help(Few, "dedup")
    assert shown.startswith("settings (TOML")
    assert shown.splitlines()[3:] == ["  dedup.other = 2", "      Other."]


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("12", 12), ("0", None), ("-1", None), ("", None), ("1.5", None)]
)
def test_positive_numbers(text: str, number: int | None) -> None:
    if number is not None:
        assert arguments.positive(text) == number
    else:
        with pytest.raises(argparse.ArgumentTypeError, match="is not a positive number"):
            arguments.positive(text)


def test_steps_share_the_processor_time_of_their_run(tmp_path: Path) -> None:
    """Each counts its own alone, whatever the run has used before."""
    store = toy_stage.make_corpus(str(tmp_path))
    run = toy_stage.run_of(store)
    run.usage["cpu_s"] = 1000.0
    run_steps(run, toy_stage.STEPS)
    made = [
        find_manifest(store, table.name, "b") for step in toy_stage.STEPS for table in step.writes
    ]
    used = [each.details["cpu_s"] for each in made if each is not None]
    assert len(used) > 1
    assert all(0 <= each <= run.usage["cpu_s"] - 1000 + 0.001 for each in used)


@pytest.mark.parametrize("rows", [[], [[]], [[2, 0, 2], [1, 2]]])
def test_a_round_has_a_batch_for_each_bucket(rows: list[list[int]]) -> None:
    """Empty ones too, so that a bucket is every so many-th batch of the file."""
    schema = pa.schema([("value", pa.int64())])
    values = iter(range(100))
    pending = [
        SimpleNamespace(
            table=pa.table({"value": pa.array([next(values) for _ in here], pa.int64())}, schema),
            bucket=np.array(here, np.int64),
        )
        for here in rows
    ]
    stream = io.BytesIO()
    with pa.ipc.new_file(stream, schema) as writer:
        task._write_round(writer, cast(Any, pending), schema, 4)
        task._write_round(writer, cast(Any, pending), schema, 4)
    store = cast(
        Any,
        SimpleNamespace(open_input=lambda _: contextlib.nullcontext(io.BytesIO(stream.getvalue()))),
    )
    flat = [bucket for here in rows for bucket in here]
    for index in range(4):
        batches = list(task._bucket(store, "x", index, 4))
        expected = [place for place, bucket in enumerate(flat) if bucket == index]
        assert [batch["value"].to_pylist() for batch in batches] == [expected] * 2


def test_settings_of_sections_that_are_not_read_are_named(caplog: pytest.LogCaptureFixture) -> None:
    sets = [
        "dedup.overlap.n=3",
        "dedup.threshold=0.5",
        "shards.writer.val_frac=0.1",
        "dedup.lsh.a.b=1",
    ]
    args = argparse.Namespace(sets=sets)
    command.warn_of_unread(args, "dedup", {"overlap", "lsh"}, "it is not read")
    assert [record.message for record in caplog.records] == [
        "--set dedup.threshold has no effect: it is not read"
    ]


def test_a_batch_is_asked_for() -> None:
    with pytest.raises(InputError, match="required: --batch"):
        arguments.parser("clean.run", "x").parse_args(["--corpus", "c"])
    assert arguments.parser("clean.run", "x", batch=False).parse_args(["--corpus", "c"])


def test_the_first_bytes_of_a_client_of_http2() -> None:
    """RFC 9113, 3.4 and 6.5: 24 bytes, then SETTINGS (type 4) of no length on stream 0."""
    assert opening.PREFACE.hex() == (
        "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a000000040000000000"
    )


def test_five_differences_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = [f"setting{n}" for n in range(7)]
    monkeypatch.setattr(plan, "_settings_that_differ", lambda *_: differences)
    monkeypatch.setattr(plan, "_inputs_that_differ", lambda *_, **__: ["another dump"])
    run = SimpleNamespace(store=SimpleNamespace(root="c"), batch="b", stage="toy")
    manifest = SimpleNamespace(fingerprint="1", table="t")
    with pytest.raises(InputError) as refused:
        plan.refuse_other(cast(Any, run), cast(Any, SimpleNamespace(fingerprint="2")), cast(Any, manifest))  # fmt: skip
    named = [name for name in [*differences, "another dump"] if name in str(refused.value)]
    assert named == differences[:5]
    plan.refuse_other(cast(Any, run), cast(Any, manifest), cast(Any, manifest))


def test_failures_of_tasks_and_of_nodes_are_published_together() -> None:
    executor = cast(Any, SimpleNamespace(window=1, slots=1))
    crew = attempts._Crew(executor, deque(), Watch("toy/x", 1, Limits()))
    crew._failures.update({0: 2, 1: 1})
    crew._lost.update({0: 4})
    crew.publish(Meter("toy/x", 1, None))
    assert 'webtext_step_failed_attempts{step="toy/x"} 7' in metrics.CURRENT.render()
    metrics.CURRENT.clear(*(name for name in metrics.METRICS if name.startswith("webtext_step")))


def test_a_new_meter_has_counted_nothing() -> None:
    meter = Meter("toy/x", 1, None)
    counted = (meter.parts_done, meter.rows, meter.cpu_s, meter.rows_before, meter.note)
    assert counted == (0, 0, 0.0, 0, "")
