"""Contestants on the same input, in turns, each turn in a process of its own: time, CPU time and peak memory are its own.

A contestant is a factory at module level: it gets the input, imports what it needs, and returns the work, which is what is
timed; the work returns a `Turn`. Rounds alternate between contestants, so that the machine's moods fall on all alike, and
medians are shown. Where contestants share one process by nature, `bench.alternate` does the same inside it.
"""

from __future__ import annotations

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
    """What a turn did: an amount in the bench's unit, and figures of quality."""

    amount: float
    quality: Mapping[str, float] = field(default_factory=dict)


Work = Callable[[], Turn]
Factory = Callable[[Any], Work]


@dataclass(frozen=True)
class Contestant:
    """Who runs. `distribution` is the package whose version is shown, and without which the contestant is left out."""

    name: str
    factory: Factory
    distribution: str | None = None


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


def compare(
    bench: str, contestants: Sequence[Contestant], source: Any, *, description: str, unit: str, rounds: int
) -> dict[str, Any]:
    """Let all contestants that are installed run `rounds` times in turns; the result as one JSON-ready object.

    Ratios are those of rates per CPU second, first contestant against each other one: more than 1 is better for ours.
    """
    versions = {each.name: version(each.distribution) for each in contestants}
    present = [each for each in contestants if versions[each.name] is not None]
    for each in contestants:
        if each not in present:
            print(f"{each.name}: left out, {each.distribution} is not installed", file=sys.stderr)
    samples: dict[str, list[Sample]] = {each.name: [] for each in present}
    for number in range(rounds):
        for each in present:
            print(f"round {number + 1}/{rounds}: {each.name}", file=sys.stderr)
            sample = _in_own_process(each.factory, source)
            if sample is None:
                print(f"{each.name}: failed, see above", file=sys.stderr)
            else:
                samples[each.name].append(sample)
    rows = [_row(name, versions[name] or "", unit, seen) for name, seen in samples.items() if seen]
    per_cpu_s = {row.name: row.rate * row.wall_s / max(row.cpu_s, 1e-9) for row in rows}
    ours = rows[0].name
    return {
        "bench": bench,
        "input": description,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "contestants": [asdict(row) for row in rows],
        "ratios": {
            f"{ours}/{name}": round(per_cpu_s[ours] / rate, 2)
            for name, rate in per_cpu_s.items()
            if name != ours
        },
    }


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
    """The highest resident memory of this process in MiB; a parent's does not count, as it does in `ru_maxrss`."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


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
    work = factory(source)
    wall, cpu = time.perf_counter(), time.process_time()
    turn = work()
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    sender.send(Sample(turn.amount, wall_s, cpu_s, peak_rss_mb(), turn.quality))
    sender.close()


def _row(name: str, version: str, unit: str, samples: Sequence[Sample]) -> Row:
    def median(values: Sequence[float]) -> float:
        return round(statistics.median(values), 4)

    return Row(
        name=name,
        version=version,
        rate=median([sample.amount / sample.wall_s for sample in samples]),
        unit=unit,
        cpu_s=median([sample.cpu_s for sample in samples]),
        wall_s=median([sample.wall_s for sample in samples]),
        peak_rss_mb=median([sample.peak_rss_mb for sample in samples]),
        quality={key: median([sample.quality[key] for sample in samples]) for key in samples[0].quality},
    )
