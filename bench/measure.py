"""Measures contestants on the same input: wall time, CPU time, peak memory and quality.

A contestant is a factory: it gets the input, imports its libraries, and returns the work. Only the
work is timed; it returns a `Turn`. Rounds alternate between contestants, so that other load on the
machine affects all alike, and medians are shown. `compare` runs each turn in a process of its own,
with its own memory and imports; its factories are module-level functions. `alternate` runs them in
this process, after a warm-up round, for contestants with a costly common set-up; peak memory is
then the whole process's. Processes started by the work count with it.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Turn:
    """The amount of work done in a turn, in the bench's unit, and measures of quality."""

    amount: float
    quality: Mapping[str, float] = field(default_factory=dict)


Work = Callable[[], Turn]
Factory = Callable[[Any], Work]


@dataclass(frozen=True)
class Contestant:
    """A contestant by name.

    Without its `distribution` installed it is left out. The version shown is `version`, else the
    distribution's; those named `ours` show the version of this code.
    """

    name: str
    factory: Factory
    distribution: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class Sample:
    """One measured turn."""

    amount: float
    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    quality: Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """A contestant's medians over all rounds; `rate` is per second of wall time."""

    name: str
    version: str
    rate: float
    unit: str
    cpu_s: float
    wall_s: float
    peak_rss_mb: float
    quality: Mapping[str, float]


def arguments(description: str | None, rounds: int = 3) -> argparse.ArgumentParser:
    """--json and --rounds; a bench may add its own."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"turns per contestant (default: {rounds})"
    )
    return parser


def compare(
    bench: str,
    contestants: Sequence[Contestant],
    source: Any,
    *,
    description: str,
    unit: str,
    rounds: int,
) -> dict[str, Any]:
    """Run all installed contestants `rounds` times in turns and return a JSON-ready object.

    Each turn is a process of its own. Ratios compare rates per CPU second of the first contestant
    with each other one: more than 1 is better for ours.
    """
    present = _installed(contestants)
    samples: dict[str, list[Sample]] = {each.name: [] for each in present}
    for number in range(rounds):
        for each in present:
            print(f"round {number + 1}/{rounds}: {each.name}", file=sys.stderr)
            sample = _in_own_process(each.factory, source)
            if sample is None:
                print(f"{each.name}: failed, see above", file=sys.stderr)
            else:
                samples[each.name].append(sample)

    return _result(bench, present, samples, description, unit)


def alternate(
    bench: str,
    contestants: Sequence[Contestant],
    source: Any,
    *,
    description: str,
    unit: str,
    rounds: int,
) -> dict[str, Any]:
    """`compare` in this process: one warm-up round without counting, then `rounds`."""
    present = _installed(contestants)
    works = {each.name: each.factory(source) for each in present}
    samples: dict[str, list[Sample]] = {each.name: [] for each in present}

    for number in range(rounds + 1):
        for name, work in works.items():
            print(f"round {number}/{rounds}: {name}", file=sys.stderr)
            gc.collect()
            sample = _timed(work)
            if number:
                samples[name].append(sample)

    return _result(bench, present, samples, description, unit)


def show(result: Mapping[str, Any], *, as_json: bool) -> None:
    """A table for people; with `as_json` the object as the last line."""
    print(f"{result['bench']}: {result['input']}\n{result['machine']}")
    print(f"{'':16}{'version':>12}{'rate':>14} {'':10}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}")
    for row in result["contestants"]:
        quality = " ".join(f"{key}={value:g}" for key, value in row["quality"].items())
        print(
            f"{row['name']:16}{row['version']:>12}{row['rate']:14,.0f} {row['unit']:10}"
            f"{row['cpu_s']:8.2f}{row['wall_s']:8.2f}{row['peak_rss_mb']:9.0f}  {quality}"
        )

    for names, ratio in result["ratios"].items():
        print(f"{names}: {ratio:.2f} x per CPU second")
    if as_json:
        print(json.dumps(result))


def version(distribution: str | None) -> str | None:
    """The installed version of a distribution (of Python for None), or None where it is absent."""
    if distribution is None:
        return platform.python_version()
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def peak_rss_mb() -> float:
    """Peak resident memory in MiB of this process plus the processes it started.

    Of ended processes only the largest counts. Unlike `ru_maxrss` this leaves out the parent's
    memory. Without /proc, only this process counts.
    """
    if not Path("/proc/self/status").exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            2**20 if sys.platform == "darwin" else 2**10
        )

    live = sum(_peak_kb(pid) for pid in ["self", *_descendants(os.getpid())])
    return max(live, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def cpu_s() -> float:
    """CPU seconds of this process and its live and ended descendants."""
    times = os.times()
    ticks = sum(_ticks(pid) for pid in _descendants(os.getpid()))
    return (
        time.process_time()
        + times.children_user
        + times.children_system
        + ticks / os.sysconf("SC_CLK_TCK")
    )


def _installed(contestants: Sequence[Contestant]) -> list[Contestant]:
    present = [each for each in contestants if version(each.distribution) is not None]
    for each in contestants:
        if each not in present:
            print(f"{each.name}: left out, {each.distribution} is not installed", file=sys.stderr)
    return present


def _result(
    bench: str,
    present: Sequence[Contestant],
    samples: Mapping[str, Sequence[Sample]],
    description: str,
    unit: str,
) -> dict[str, Any]:
    rows = [_row(each, unit, samples[each.name]) for each in present if samples[each.name]]
    if not rows:
        raise SystemExit(f"{bench}: no contestant ended a turn, see above")

    per_cpu_s = {row.name: row.rate * row.wall_s / max(row.cpu_s, 1e-9) for row in rows}
    ours = rows[0].name
    return {
        "bench": bench,
        "input": description,
        "machine": (
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        ),
        "contestants": [asdict(row) for row in rows],
        "ratios": {
            f"{ours}/{name}": round(per_cpu_s[ours] / rate, 2)
            for name, rate in per_cpu_s.items()
            if name != ours
        },
    }


def _in_own_process(factory: Factory, source: Any) -> Sample | None:
    """One turn, or None where the process ended without a result."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_turn, args=(factory, source, sender))
    process.start()
    sender.close()

    try:
        sample: Sample | None = receiver.recv()
    except EOFError:
        sample = None

    process.join()
    return sample


def _turn(factory: Factory, source: Any, sender: Any) -> None:
    sender.send(_timed(factory(source)))
    sender.close()


def _timed(work: Work) -> Sample:
    wall, cpu = time.perf_counter(), cpu_s()
    turn = work()
    return Sample(
        turn.amount, time.perf_counter() - wall, cpu_s() - cpu, peak_rss_mb(), turn.quality
    )


def _row(each: Contestant, unit: str, samples: Sequence[Sample]) -> Row:
    def median(values: Sequence[float]) -> float:
        return round(statistics.median(values), 4)

    return Row(
        name=each.name,
        version=each.version or _shown(each),
        rate=median([sample.amount / sample.wall_s for sample in samples]),
        unit=unit,
        cpu_s=median([sample.cpu_s for sample in samples]),
        wall_s=median([sample.wall_s for sample in samples]),
        peak_rss_mb=round(median([sample.peak_rss_mb for sample in samples]), 1),
        quality={
            key: median([sample.quality[key] for sample in samples]) for key in samples[0].quality
        },
    )


def _shown(each: Contestant) -> str:
    if each.name.startswith("ours"):
        return version("webtext") or "source"
    return version(each.distribution) or ""


def _descendants(pid: int) -> list[int]:
    """Live descendants of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, _read(task).split()):
            found += [child, *_descendants(child)]
    return found


def _ticks(pid: int) -> int:
    """CPU ticks of a process and of its ended children; 0 if it has just ended itself."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def _peak_kb(pid: int | str) -> int:
    lines = _read(Path(f"/proc/{pid}/status")).splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _read(path: Path) -> str:
    """A file of /proc, empty where its process has ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
