"""Processes pages in a child process that may die: a hostile page never costs another.

The child takes one page at a time over a pipe and answers with a document or a reason. Its limits
hold even while C code runs: processor time by a timer with a deadly signal, memory by the size of
its address space. The parent adds a wall clock. If the child dies, the page it had is the culprit,
and a new child continues with the next page. After a crash or a lack of memory, the page is tried
once more alone in a fresh child: its result does not depend on earlier pages.

A limit on processor time says something about the page, a limit on wall time about the load of the
machine. The child's hash seed is fixed, since results must not vary with the order of a set.
Answers are msgpack, not pickle: after hostile bytes a process may send data, never code.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from typing import IO

import msgspec
from pydantic import Field

from clean.reasons import Reason
from corpus.config import Section
from corpus.errors import RetryableError
from corpus.run.cpu_time import count_child, forget_child

# Time for a process to import its libraries and, once on a machine, to compile functions under
# heavy load, seconds.
START_S = 300.0
# The wall clock allows this many times the processor time, and `WALL_SLACK_S` more, for loaded
# machines.
WALL_PER_CPU = 4
WALL_SLACK_S = 10.0
# Pages until a process is replaced, to bound its memory.
PAGES_PER_PROCESS = 5000
# Room of a pipe. Linux gives 64 KiB, which a page of 145 kB needs three switches for.
PIPE_BYTES = 1 << 20
_LENGTH = struct.Struct("<Q")
# First byte of an answer.
_DONE, _FAILED = b"\0", b"\1"


class SandboxConfig(Section):
    """Limits of the child processes."""

    cpu_s: float = Field(default=10.0, gt=0)
    """Processor time for one page, seconds.

    The slowest of 2,685 real pages takes 1.5 s (2026-11).
    """
    memory_mb: int = Field(default=1024, ge=64)
    """Memory for one page beyond what the process needs itself, MiB."""


class Failure(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The child's report of a page that it could not finish."""

    reason: Reason
    detail: str


class Sandbox:
    """A killable child process, answering requests one at a time. It starts when first needed.

    `program` is `module:function`. The child calls it with `argument` and gets the function, from
    bytes to bytes, that answers. Use as a context manager, or `close` it. A forgotten child ends
    with its parent.
    """

    def __init__(
        self,
        program: str,
        argument: str,
        config: SandboxConfig,
        *,
        pages_per_process: int = PAGES_PER_PROCESS,
    ) -> None:
        self._program = program
        self._argument = argument
        self._config = config
        self._pages_per_process = pages_per_process
        self._process: subprocess.Popen[bytes] | None = None
        self._served = 0
        self._end: weakref.finalize[[subprocess.Popen[bytes]], Sandbox] | None = None

    def ask(self, request: bytes) -> bytes | Failure:
        """Answers one request, or reports how the child failed at it.

        Raises: RetryableError if no process can be started.
        """
        fresh = self._process is None
        answer = self._ask_once(request)
        if (
            isinstance(answer, Failure)
            and not fresh
            and answer.reason is not Reason.EXTRACT_TIMEOUT
        ):
            answer = self._ask_once(request)

        return answer

    @property
    def pid(self) -> int | None:
        """The pid of the running child, or None."""
        return self._process.pid if self._process is not None else None

    def close(self) -> None:
        """End the process."""
        if self._end is not None:
            self._end()
        self._process, self._end, self._served = None, None, 0

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _ask_once(self, request: bytes) -> bytes | Failure:
        process = self._process or self._start()
        self._served += 1
        wall_s = WALL_PER_CPU * self._config.cpu_s + WALL_SLACK_S

        try:
            _send(process.stdin, request)
            answer = _receive(process.stdout, time.monotonic() + wall_s)
        except TimeoutError:
            self._kill(process)
            return Failure(Reason.EXTRACT_TIMEOUT, f"over {wall_s:g} s of wall time")
        except (BrokenPipeError, EOFError, ConnectionResetError):
            self._kill(process)
            return _cause_of_death(process.returncode, self._config)

        if answer[:1] == _FAILED:
            self.close()  # its memory is in an unknown state
            return msgspec.msgpack.decode(answer[1:], type=Failure)

        if self._served >= self._pages_per_process:
            self.close()
        return answer[1:]

    def _start(self) -> subprocess.Popen[bytes]:
        paths = [path or os.getcwd() for path in sys.path]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-c", "from clean.sandbox import serve; serve()", self._program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment,
        )
        for pipe in (process.stdin, process.stdout):
            _widen(pipe)
        self._process, self._served = process, 0
        self._end = weakref.finalize(self, _finish, process)
        count_child(process.pid)

        try:
            _send(process.stdin, self._config.model_dump_json().encode())
            _send(process.stdin, self._argument.encode())
            _receive(process.stdout, time.monotonic() + START_S)
        except (TimeoutError, OSError, EOFError) as error:
            self._kill(process)
            raise RetryableError(
                f"the extraction process does not start (exit code {process.returncode}); its own message is above"
            ) from error

        return process

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        # A process whose pipe broke is ending by itself, and its exit code says why.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.kill()
        process.wait()
        self.close()


def _cause_of_death(code: int | None, config: SandboxConfig) -> Failure:
    if code == -signal.SIGPROF:
        return Failure(Reason.EXTRACT_TIMEOUT, f"over {config.cpu_s:g} s of processor time")
    if code == -signal.SIGKILL:
        return Failure(
            Reason.EXTRACT_MEMORY, "killed from outside, as the system does when memory runs out"
        )

    how = (
        f"signal {signal.Signals(-code).name}"
        if code is not None and code < 0
        else f"exit code {code}"
    )

    return Failure(Reason.EXTRACT_CRASHED, how)


def _widen(pipe: IO[bytes] | None) -> None:
    """Gives a pipe room for a whole page, so that both sides are switched to less often."""
    # A system may refuse: its limit for all pipes of a user counts as well.
    with contextlib.suppress(OSError):
        if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _finish(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.kill()
    process.wait()
    forget_child(process.pid)


def _send(stream: IO[bytes] | None, message: bytes) -> None:
    """Writes one whole message. Raises BrokenPipeError if the other side is closed."""
    assert stream is not None
    rest = memoryview(_LENGTH.pack(len(message)) + message)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def _receive(stream: IO[bytes] | None, deadline: float | None) -> bytes:
    """Reads one whole message. Raises EOFError if the other side is closed, TimeoutError at the
    deadline.
    """
    (length,) = _LENGTH.unpack(_receive_bytes(stream, _LENGTH.size, deadline))
    return _receive_bytes(stream, length, deadline)


def _receive_bytes(stream: IO[bytes] | None, length: int, deadline: float | None) -> bytes:
    assert stream is not None
    poller = select.poll()
    poller.register(stream, select.POLLIN)
    pieces = []

    while length:
        if deadline is not None and not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        piece = stream.read(min(length, 1 << 20))
        if not piece:
            raise EOFError
        pieces.append(piece)
        length -= len(piece)

    return b"".join(pieces)


def serve() -> None:
    """Answers requests until the pipe closes or a limit ends the process. Runs in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # a library that prints must not write between the answers
    config = SandboxConfig.model_validate_json(_receive(requests, None))
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)(_receive(requests, None).decode())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Libraries and models stay: a full collection would walk through all of them.
    gc.freeze()
    # Relative to the memory in use, so that a page is not charged for the libraries.
    _limit_memory(_address_space() + (config.memory_mb << 20))

    with contextlib.suppress(EOFError, BrokenPipeError):
        _send(answers, _DONE)
        while True:
            request = _receive(requests, None)
            signal.setitimer(signal.ITIMER_PROF, config.cpu_s)
            answer = _answer(function, request)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _send(answers, answer)
            del request, answer

    os._exit(0)


def _answer(function: Callable[[bytes], bytes], request: bytes) -> bytes:
    """Answers one request. Any exception of a library is a result of the page, so the catch is
    broad.
    """
    try:
        return _DONE + function(request)
    except MemoryError:
        failure = Failure(Reason.EXTRACT_MEMORY, "MemoryError")
    except Exception as error:
        failure = Failure(Reason.EXTRACT_CRASHED, f"{type(error).__name__}: {error}"[:200])

    return _FAILED + msgspec.msgpack.encode(failure)


def _address_space() -> int:
    """The size of this process's address space in bytes, or 0 without /proc; memory is not limited
    then.
    """
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _limit_memory(most: int) -> None:
    if _address_space():
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
