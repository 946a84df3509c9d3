"""A head that does not answer costs seconds, holds no lease, and obeys SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from corpus.errors import InputError
from corpus.run.executors import opening
from tests.support import toy_stage


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A port that accepts connections and says nothing, as a stopped process does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_closed_port_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "ANSWER_WITHIN_S", 0.7)
    # Bound and not listening: nobody else can take it.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(InputError, match=r"no cluster answers .* \(Connection refused\)"):
            opening.require_answer(f"127.0.0.1:{closed.getsockname()[1]}")


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "auto", "head:ray"])
def test_an_address_without_a_port_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="expected host:port"):
        opening.require_answer(address)


def test_a_head_that_is_frozen_is_told_apart_from_one_that_speaks(
    silent_server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "ANSWER_WITHIN_S", 0.3)
    with pytest.raises(InputError, match="no answer"):
        opening.require_answer(f"127.0.0.1:{silent_server}")

    def answer(server: socket.socket, data: bytes) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(100)
            connection.sendall(data)

    for data, problem in (
        (bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)), None),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak gRPC"),
        (b"", "the connection was closed"),
    ):
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=answer, args=(server, data))
            thread.start()
            assert opening._problem("127.0.0.1", server.getsockname()[1], 5.0) == problem
            thread.join()


def _command(root: str, port: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    words = ["-m", "tests.support.toy_stage", "--corpus", root, "--batch", "b"]
    return subprocess.Popen(
        [sys.executable, *words], env=environment, stderr=subprocess.PIPE, text=True
    )


def _wait_for_handler(process: subprocess.Popen[str]) -> None:
    """Wait until the process has a handler for SIGTERM: on a busy machine imports take seconds."""
    bit = 1 << (signal.SIGTERM - 1)
    for _ in range(600):
        status = Path(f"/proc/{process.pid}/status").read_text()
        [caught] = [line for line in status.splitlines() if line.startswith("SigCgt")]
        if int(caught.split()[1], 16) & bit:
            break
        time.sleep(0.05)
    time.sleep(0.3)


def test_sigterm_ends_a_start_that_waits_and_no_lease_is_held(
    tmp_path: Path, silent_server: int
) -> None:
    """It took 27 s, ended with exit code 15, and the lease's heart had been beating all the time."""
    store = toy_stage.make_corpus(str(tmp_path))
    process = _command(store.root, silent_server)
    _wait_for_handler(process)
    assert process.poll() is None
    assert store.files("work", recursive=True) == []
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert len(errors.splitlines()) == 1


def _wait_for_sleep(process: subprocess.Popen[str]) -> None:
    """Wait until the main thread waits inside compiled code: it slept at each of ten looks."""
    num_asleep = 0
    while num_asleep < 10:
        stat = Path(f"/proc/{process.pid}/task/{process.pid}/stat").read_text()
        num_asleep = num_asleep + 1 if stat.rpartition(")")[2].split()[0] == "S" else 0
        time.sleep(0.02)


# Ray's client would be in compiled code here, where no Python handler runs.
STUCK = """
import ctypes, signal, sys
from corpus.run.command import interruptible
from corpus.run.executors import opening
opening.OPEN_WITHIN_S, opening.STOP_WITHIN_S = float(sys.argv[1]), 0.3
mutex = ctypes.create_string_buffer(64)
lock = ctypes.CDLL(None).pthread_mutex_lock
with interruptible(), opening.watched("joining"):
    lock(mutex)
    print("ready", flush=True)
    lock(mutex)
"""


@pytest.mark.parametrize(("limit_s", "stop", "code"), [(30, True, 143), (0.5, False, 2)])
def test_a_start_inside_compiled_code_is_ended(limit_s: float, stop: bool, code: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", STUCK, str(limit_s)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        if stop:
            _wait_for_sleep(process)
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert len(errors.splitlines()) == 1


def test_a_head_that_is_being_started_is_asked_for_eight_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every half second, as long as another attempt ends in time; each with what is left."""
    now, left = [100.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def problem(host: str, port: int, timeout_s: float) -> str:
        assert (host, port) == ("::1", 6379)
        left.append(timeout_s)
        return "no"

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(opening, "time", clock)
    monkeypatch.setattr(opening, "_problem", problem)
    with pytest.raises(InputError, match=r"no cluster answers within 8 s \(no\)"):
        opening.require_answer("ray://[::1]:6379")
    assert left == [8.0 - n / 2 for n in range(16)]


@pytest.mark.parametrize(
    ("bytes_sent", "code"),
    [([2], 130), ([15], 143), ([15, 2], 130), ([2, 15], 130), ([28, 15], 143)],
)
def test_a_signal_in_a_start_ends_it_with_the_code_of_the_first(
    bytes_sent: list[int], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """130 for SIGINT and 143 for SIGTERM, as a shell counts them; other signals end nothing."""
    ended: list[int] = []

    def end(code: int, line: str) -> None:
        ended.append(code)
        raise SystemExit

    monkeypatch.setattr(opening, "_end", end)
    monkeypatch.setattr(opening, "STOP_WITHIN_S", 0.0)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(SystemExit):
        theirs.sendall(bytes(bytes_sent))
        opening._watch(ours, threading.Event(), "x")
    assert ended == [code]
