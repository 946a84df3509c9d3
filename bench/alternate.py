"""Contestants on the same input in one process, in turns, so that the machine's moods fall on all alike."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import zstandard

Turn = Callable[[], float]
"""One turn of a contestant: does its work and returns how much that was, in the bench's unit."""


@dataclass(frozen=True)
class Contestant:
    """Who runs, which version, one turn of it."""

    name: str
    version: str
    turn: Turn


def run(
    bench: str,
    source: str,
    unit: str,
    contestants: list[Contestant],
    repeats: int,
    quality: Mapping[str, Any],
) -> dict[str, Any]:
    """Medians over `repeats` rounds after one that warms up; ratios of the first `ours*` to every other."""
    seen: dict[str, list[tuple[float, float, float]]] = {each.name: [] for each in contestants}
    for number in range(repeats + 1):
        for each in contestants:
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            amount = each.turn()
            if number:
                seen[each.name].append((amount, time.perf_counter() - wall, time.process_time() - cpu))
    rows = [_row(each, seen[each.name], unit, quality.get(each.name, {})) for each in contestants]
    ours = next(row for row in rows if row["name"].startswith("ours"))
    return {
        "bench": bench,
        "input": source,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "contestants": rows,
        "ratios": {
            f"ours/{row['name']}": round(ours["rate"] / row["rate"], 2) for row in rows if row is not ours
        },
    }


def _row(
    each: Contestant, turns: list[tuple[float, float, float]], unit: str, quality: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": each.name,
        "version": each.version,
        "rate": round(statistics.median(amount / wall for amount, wall, _ in turns), 3),
        "unit": unit,
        "cpu_s": round(statistics.median(cpu for *_, cpu in turns), 4),
        "wall_s": round(statistics.median(wall for _, wall, _ in turns), 4),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "quality": dict(quality),
    }


def arguments(description: str | None) -> argparse.Namespace:
    """--json and --repeats."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--repeats", type=int, default=5, help="rounds counted (default: 5)")
    return parser.parse_args()


def show(result: dict[str, Any], *, as_json: bool) -> None:
    """A table, and the JSON line where asked."""
    print(f"{result['bench']}: {result['input']}; {result['machine']}; peak memory is the whole process's")
    for row in result["contestants"]:
        ratio = result["ratios"].get(f"ours/{row['name']}")
        note = f"ours is {ratio:.2f} x" if ratio else ""
        quality = " ".join(f"{key}={value}" for key, value in row["quality"].items())
        print(
            f"  {row['name']:22} {row['version']:10} {row['rate']:10.2f} {row['unit']:10} cpu {row['cpu_s']:8.3f} s  {note} {quality}"
        )
    if as_json:
        print(json.dumps(result))


def prose(limit_bytes: int) -> tuple[list[str], str]:
    """Real documents up to a size, and where they came from. Raises SystemExit saying what is missing."""
    root = Path(os.environ.get("WEBTEXT_SHARED", Path(__file__).parents[2] / "shared")) / "data/prose/dev"
    if not root.is_dir():
        raise SystemExit(f"no prose in {root}; set WEBTEXT_SHARED to the folder of real material")
    texts: list[str] = []
    for text in _texts(root):
        limit_bytes -= len(text.encode())
        if limit_bytes < 0:
            break
        texts.append(text)
    size = sum(len(text.encode()) for text in texts)
    return texts, f"{len(texts)} documents of prose/dev, {size / 1e6:.1f} MB"


def _texts(root: Path) -> Iterator[str]:
    """Documents of all files in turn, so that any prefix is a mixture."""
    streams = []
    for path in sorted(root.glob("*.jsonl.zst")):
        reader = zstandard.ZstdDecompressor().stream_reader(path.open("rb"))
        streams.append(iter(TextIOWrapper(reader, "utf-8")))
    while streams:
        for stream in list(streams):
            line = next(stream, None)
            if line is None:
                streams.remove(stream)
            else:
                yield json.loads(line)["text"]
