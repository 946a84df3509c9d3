"""CPU time of this process and its children, running ones among them.

The system adds a child's time to its parent's when the child is awaited. A child that serves many
tasks is awaited after the last of them, so its time is read while it runs.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the name, which may hold spaces: user and system time (proc(5)).
_USER_TIME: Final = 11
_SYSTEM_TIME: Final = 12
_running: set[int] = set()


def count_child(pid: int) -> None:
    """Count the time of a child while it runs. Call `forget_child` as soon as it was awaited."""
    _running.add(pid)


def forget_child(pid: int) -> None:
    """Leave the time of a child to the system, which has it from now on."""
    _running.discard(pid)


def cpu_seconds() -> float:
    """CPU time of this process, of its ended children, and of counted ones that run."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    done = sum(each.ru_utime + each.ru_stime for each in used)
    return done + sum(map(_seconds_of, tuple(_running)))


def _seconds_of(pid: int) -> float:
    """CPU time of a running process; 0 where the system does not tell it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) / _TICKS_A_SECOND
