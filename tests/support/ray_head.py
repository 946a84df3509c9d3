"""A real Ray head node on loopback, closed by a token as docs/cluster.md asks for."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ATTEMPTS = 3
"""Ray 2.60 gives its agent 15 s to start, then the head ends itself: too short now and then on a busy machine."""


@contextlib.contextmanager
def running_head(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of those who submit jobs to it; `HEAD_ADDRESS` in it is for drivers that join from outside."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with (
        (folder / "head.log").open("wb") as log,
        # Not below `folder`: the path of a socket has at most 107 characters.
        tempfile.TemporaryDirectory(
            prefix="rj", dir="/tmp", ignore_cleanup_errors=True
        ) as temporary,
    ):
        for attempt in range(1, ATTEMPTS + 1):
            dashboard, port, agent = free_port(), free_port(), free_port()
            process = _start(environment, log, temporary, dashboard, port, agent)
            try:
                if not (_answers(dashboard, process) and _answers(agent, process)):
                    assert attempt < ATTEMPTS, f"the head node did not start: {folder / 'head.log'}"
                    continue
                yield environment | {
                    "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
                    "HEAD_ADDRESS": f"127.0.0.1:{port}",
                }
                return
            finally:
                _end(process)


def _start(
    environment: dict[str, str],
    log: BinaryIO,
    temporary: str,
    dashboard: int,
    port: int,
    agent: int,
) -> subprocess.Popen[bytes]:
    command = [
        str(Path(sys.executable).parent / "ray"),
        "start",
        "--head",
        "--block",
        "--port",
        str(port),
    ]
    command += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)]
    command += [
        "--dashboard-agent-listen-port",
        str(agent),
        "--ray-client-server-port",
        str(free_port()),
    ]
    command += ["--num-cpus", "2", "--disable-usage-stats", "--temp-dir", temporary]
    return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.2)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
