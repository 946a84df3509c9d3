"""A real Ray head node on loopback, closed by a token as docs/cluster.md asks for."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_head(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of those who submit jobs to it; `HEAD_ADDRESS` in it is for drivers that join from outside."""
    ray = Path(sys.executable).parent / "ray"
    dashboard, port = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "HEAD_ADDRESS": f"127.0.0.1:{port}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [str(ray), "start", "--head", "--block", "--port", str(port), "--dashboard-host", "127.0.0.1"]
    command += ["--dashboard-port", str(dashboard), "--ray-client-server-port", str(free_port())]
    command += ["--dashboard-agent-listen-port", str(free_port()), "--num-cpus", "2", "--disable-usage-stats"]
    command += ["--temp-dir", f"/tmp/rj{os.getpid()}"]
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _wait_for(dashboard)
        yield environment
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the head node did not start")
