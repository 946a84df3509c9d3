"""Processes that a test starts: one that fails says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(
    command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> str:
    """Run a command that must succeed, and return its standard output.

    Fails with the exit code or the signal and the end of both outputs. `check=True` shows neither,
    so that a failure which happens once on a busy machine leaves nothing to find its reason by.
    """
    done = subprocess.run(
        [*command],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        check=False,
    )
    ended = f"exit code {done.returncode}"
    if done.returncode < 0:
        ended = f"signal {signal.Signals(-done.returncode).name}"
    assert done.returncode == 0, f"{ended}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"

    return done.stdout


def run_program(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a Python program as `run` does, with a traceback if a signal ends it."""
    return run([sys.executable, "-X", "faulthandler", "-c", program, *arguments], environment)


def is_alive(pid: int) -> bool:
    """False once the process has ended, even if nobody has asked for its exit code."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
