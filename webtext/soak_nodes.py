"""Ray nodes on this machine: they join the cluster of RAY_ADDRESS during a stage, and then fail."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from corpus.errors import FatalError
from corpus.run.progress import duration

# Seconds for a node to start and to run its first task, on a busy machine.
USED_WITHIN_S = 120.0
# Seconds between two looks at processes. The shortest tasks take about as long.
LOOK_S = 0.02
# Command lines of Ray's worker processes begin with this.
WORKER = b"ray::"


class JoinedNode:
    """A node of one CPU, started by `ray start` with a process group of its own."""

    def __init__(self) -> None:
        address = os.environ["RAY_ADDRESS"]
        line = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--num-cpus", "1"]
        line += ["--address", address.removeprefix("ray://")]
        # Every node of a machine needs its own.
        line += ["--dashboard-agent-listen-port", str(_free_port()), "--disable-usage-stats"]
        self._process = subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def is_busy(self) -> bool:
        """True if a worker of the node runs a task."""
        return any(
            line.startswith(WORKER)
            and not line.startswith((b"ray::IDLE", b"ray::Dashboard"))
            and b"Agent" not in line
            for line in map(command_line, self._below())
        )

    def await_task(self, command: subprocess.Popen[bytes]) -> None:
        """Wait until the node runs a task. Raises: FatalError if it does not, while it could."""
        deadline = time.monotonic() + USED_WITHIN_S
        while not self.is_busy():
            if self._process.poll() is not None:
                raise FatalError(
                    f"`ray start` ended with {self._process.returncode} instead of joining the "
                    "cluster; try it by hand"
                )
            if command.poll() is not None:
                raise FatalError("the command ended before a node that joined ran a task")
            if time.monotonic() > deadline:
                raise FatalError(
                    f"a node that joined the cluster ran no task within {duration(USED_WITHIN_S)}"
                )
            time.sleep(LOOK_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the node at once, as a failing machine does."""
        for pid in [*self._below(), self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def close(self) -> None:
        """Kill the remaining processes of the node."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def _below(self) -> list[int]:
        return list(_descendants(self._process.pid))


def _descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from _descendants(child)


def children(pid: int) -> list[int]:
    """The child processes of a process; none if it is gone."""
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(word) for task in tasks for word in (task / "children").read_text().split()]
    return []


def command_line(pid: int) -> bytes:
    """The words of a process, each ended by a zero byte; empty if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
