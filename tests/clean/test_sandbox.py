from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clean import sandbox as sandbox_module
from clean.config import CleanConfig
from clean.document import Document, Dropped, Page
from clean.pages import process
from clean.reasons import Reason
from clean.sandbox import Failure, Sandbox, SandboxConfig
from corpus.errors import RetryableError
from corpus.run import cpu_time
from tests.clean.poison import DEADLY, GOOD, POISON
from tests.support.child import is_alive

HERE = Path(__file__).parent
LIMITS = SandboxConfig(cpu_s=0.3, memory_mb=128)


@pytest.fixture(scope="module")
def misbehaving() -> Iterator[Sandbox]:
    sys.path.insert(0, str(HERE))
    try:
        with Sandbox("misbehaving:program", "re:", LIMITS) as opened:
            yield opened
    finally:
        sys.path.remove(str(HERE))


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=300_000))
def test_any_message_comes_back(misbehaving: Sandbox, request_bytes: bytes) -> None:
    message = b"0 " + request_bytes.hex().encode()
    assert misbehaving.ask(message) == b"re:" + message


@pytest.mark.parametrize(
    ("request_text", "reason", "detail"),
    [
        ("spin", Reason.EXTRACT_TIMEOUT, "0.3 s of processor time"),
        ("hog 4000", Reason.EXTRACT_MEMORY, "MemoryError"),
        ("abort", Reason.EXTRACT_CRASHED, "SIGABRT"),
        ("segfault", Reason.EXTRACT_CRASHED, "SIGSEGV"),
        ("exit 3", Reason.EXTRACT_CRASHED, "exit code 3"),
        ("raise no such luck", Reason.EXTRACT_CRASHED, "ValueError: no such luck"),
        ("recurse", Reason.EXTRACT_CRASHED, "RecursionError"),
    ],
)
def test_a_death_is_told_and_the_next_page_is_safe(
    misbehaving: Sandbox, request_text: str, reason: Reason, detail: str
) -> None:
    assert misbehaving.ask(b"before") == b"re:before"
    failure = misbehaving.ask(request_text.encode())
    assert isinstance(failure, Failure)
    assert failure.reason is reason
    assert detail in failure.detail
    assert misbehaving.ask(b"after") == b"re:after"


def test_who_sleeps_is_ended_by_the_wall_clock(
    misbehaving: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_module, "WALL_SLACK_S", -1.0)
    failure = misbehaving.ask(b"sleep")
    monkeypatch.undo()
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.EXTRACT_TIMEOUT
    assert misbehaving.ask(b"after") == b"re:after"


def test_noise_does_not_reach_the_answers(misbehaving: Sandbox) -> None:
    assert misbehaving.ask(b"print") == b"re:print"


def test_a_crash_that_an_earlier_page_prepared_is_not_this_pages_fate(misbehaving: Sandbox) -> None:
    misbehaving.ask(b"before")
    assert misbehaving.ask(b"abort-if-not-first") == b"re:abort-if-not-first"


def test_processes_are_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    with Sandbox("misbehaving:program", "", LIMITS, pages_per_process=2) as opened:
        assert [opened.ask(b"served") for _ in range(5)] == [b"1", b"2", b"1", b"2", b"1"]


def test_a_program_that_does_not_start_is_an_error() -> None:
    with (
        Sandbox("no.such.module:program", "", LIMITS) as opened,
        pytest.raises(RetryableError, match="does not start"),
    ):
        opened.ask(b"x")


def test_the_process_ends_with_a_killed_parent() -> None:
    code = (
        f"import sys, time; sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1])!r}]; from clean.sandbox import *;"
        "s = Sandbox('misbehaving:program', '', SandboxConfig()); s.ask(b'x'); print(s.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 100
    while is_alive(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError("the process outlived its parent")
        time.sleep(0.05)


def test_poison_costs_no_neighbour() -> None:
    config = CleanConfig.model_validate({"sandbox": {"cpu_s": 0.3, "memory_mb": 512}})
    with Sandbox("clean.document:program", config.model_dump_json(), config.sandbox) as opened:
        process(_page(GOOD), opened)  # the first process of a machine compiles before it answers
        for name in sorted(POISON.keys() - DEADLY):
            body = POISON[name]
            result = process(_page(body), opened)
            assert isinstance(result, Dropped) or name == "wide cell", name
            assert name != "nesting" or result.reason is Reason.EXTRACT_TIMEOUT
            neighbour = process(_page(GOOD), opened)
            assert isinstance(neighbour, Document), name
            assert neighbour.num_words > 100


def test_too_little_memory_is_told_as_such() -> None:
    config = CleanConfig.model_validate({"sandbox": {"cpu_s": 5, "memory_mb": 64}})
    with Sandbox("clean.document:program", config.model_dump_json(), config.sandbox) as opened:
        result = process(_page(b"<p>word</p>" * 300_000), opened)
        assert isinstance(result, Dropped)
        assert result.reason is Reason.EXTRACT_MEMORY


def _page(body: bytes) -> Page:
    return Page("https://a.example/", "https://a.example/", "text/html", None, body)


def test_a_page_survives_the_journey() -> None:
    page = _page(bytes(range(256)))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(page), type=Page) == page


def test_cpu_time_of_a_running_child_is_counted_once(misbehaving: Sandbox) -> None:
    """A task's CPU time was that of the parent, a tenth of it: the child outlives the task."""
    misbehaving.ask(b"served")
    before = cpu_time.cpu_seconds()
    misbehaving.ask(b"burn 0.15")
    pid = misbehaving.pid
    assert pid in cpu_time._running
    # The kernel tells the time of a running process in hundredths of a second.
    assert cpu_time.cpu_seconds() - before >= 0.13

    misbehaving.close()
    assert pid not in cpu_time._running, "the system counts it from now on"
    assert cpu_time.cpu_seconds() - before >= 0.13
