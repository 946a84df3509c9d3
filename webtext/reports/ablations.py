"""Results of `webtext ablate` for the report and the window: curves, and a verdict for each arm."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from corpus.errors import InputError
from webtext.reports import charts


class Ablation(NamedTuple):
    """The result of `webtext ablate` in one folder."""

    name: str
    drawing: str
    rows: list[tuple[str, str, str, str]]
    """Arm, verdict, mean of bits per byte, and difference from the first arm."""


def add_ablation_option(parser: argparse.ArgumentParser) -> None:
    """Let a command show results; `read_ablations` reads the folders it is given."""
    parser.add_argument(
        "--ablation",
        metavar="DIR",
        action="append",
        default=[],
        help="a folder of `webtext ablate --to DIR`, shown with the runs; may be repeated",
    )


def read_ablations(folders: Sequence[str]) -> list[Ablation]:
    """The results in folders of `webtext ablate`. Raises: InputError for one without a result."""
    found = []
    for folder in folders:
        path = Path(folder) / "result.json"
        try:
            result: dict[str, Any] = json.loads(path.read_bytes())
            arms = [(arm["name"], arm["curves"]) for arm in result["arms"]]
            rows = [_row(arm) for arm in result["arms"]]
            found.append(Ablation(Path(folder).resolve().name, charts.draw_seeds(arms), rows))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise InputError(
                f"--ablation {folder}: no result of `webtext ablate --to {folder}` ({error})"
            ) from error

    return found


def _row(arm: dict[str, Any]) -> tuple[str, str, str, str]:
    mean, against = f"{arm['mean']:.4f}", arm["against_first"]
    if not against:
        return arm["name"], "", mean, ""
    return arm["name"], against["verdict"], mean, f"{against['mean']:+.4f}"


def section(ablation: Ablation) -> str:
    """The section of the report."""
    shown = charts.table(("arm", "verdict", "bits/byte", "difference"), ablation.rows, words=2)
    title = charts.escaped(ablation.name)
    return f"<section><h2>Ablation {title}</h2>{ablation.drawing}{shown}</section>"
