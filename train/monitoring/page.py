"""The page of a run, `runs/<run>/page.html`: its loss curves and samples, without a server or script.

The curves are SVG inside the page, so that one file shows a run anywhere.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from train.checkpoints.run_folder import RunFolder

Points = list[tuple[int, float]]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 320, 56, 30, 12
CURVES = {"loss": ("#8aa4c8", "training loss"), "val_loss": ("#b4443c", "validation loss")}
# Points that a curve is drawn with: more than the picture has columns show nothing.
MOST_POINTS = 1_000
# Evaluations whose samples are shown, the newest first.
NUM_SAMPLES = 5
STYLE = "body{font:15px/1.5 sans-serif;max-width:800px;margin:2em auto}pre{white-space:pre-wrap;background:#f5f5f2;padding:1em}td{padding-right:2em}"


class RunPage:
    """Writes the page at each flush: once an evaluation, and at the end."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._lines: list[Mapping[str, Any]] = []

    def begin(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Begin with the lines of earlier starts."""
        self._lines = list(lines)

    def add(self, line: Mapping[str, Any]) -> None:
        """One more line."""
        self._lines.append(line)

    def flush(self) -> None:
        """Write the page."""
        text = page(self._folder.run, self._lines, self._folder.samples(NUM_SAMPLES))
        self._folder.store.write_bytes(f"{self._folder.path}/page.html", text.encode())

    def close(self) -> None:
        """Write the page for the last time."""
        self.flush()


def page(run: str, lines: Sequence[Mapping[str, Any]], samples: Sequence[tuple[int, str]]) -> str:
    """The page of a run from its lines of metrics.jsonl, and its samples by step."""
    newest: dict[str, Any] = {}
    for line in lines:
        newest.update(line)

    rows = "".join(
        f"<tr><td>{html.escape(name)}<td>{html.escape(_shown(newest[name]))}"
        for name in ("step", "loss", "val_loss", "val_bits_per_byte", "learning_rate", "tokens_per_s", "mfu")
        if name in newest
    )  # fmt: skip
    texts = "".join(
        f"<h2>Samples after step {step:,}</h2><pre>{html.escape(text)}</pre>"
        for step, text in samples
    )
    return (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(run)}</title><style>{STYLE}</style>"
        f"<h1>Run {html.escape(run)}</h1><table>{rows}</table>{curves(lines)}{texts}\n"
    )


def curves(lines: Sequence[Mapping[str, Any]]) -> str:
    """Training and validation loss over steps, as SVG. Losses that are no number are left out."""
    found = {name: _points(lines, name) for name in CURVES}
    everything = [point for points in found.values() for point in points]
    if len(everything) < 2:
        return "<p>No curve yet.</p>"

    last = max(step for step, _ in everything) or 1
    low = math.floor(min(loss for _, loss in everything))
    high = max(low + 1, math.ceil(max(loss for _, loss in everything)))

    def place(step: int, loss: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - 8) * step / last
        return x, TOP + (HEIGHT - TOP - BOTTOM) * (high - loss) / (high - low)

    parts = []
    for number in range(5):
        loss = low + (high - low) * number / 4
        _, y = place(0, loss)
        parts.append(f"<path d='M{LEFT} {y:.1f}H{WIDTH - 8}' stroke='#ddd'/>")
        parts.append(f"<text x='{LEFT - 8}' y='{y + 4:.1f}' text-anchor='end'>{loss:.2f}</text>")

    for index, (name, (colour, label)) in enumerate(CURVES.items()):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in found[name]))
        parts.append(
            f"<polyline points='{line}' fill='none' stroke='{colour}' stroke-width='1.5'/>"
        )
        parts.append(
            f"<text x='{WIDTH - 140}' y='{TOP + 14 + 18 * index}' fill='{colour}'>{label}</text>"
        )

    parts.append(f"<text x='{WIDTH - 8}' y='{HEIGHT - 8}' text-anchor='end'>step {last:,}</text>")
    return f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' font-size='12'>{''.join(parts)}</svg>"


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> Points:
    points = [
        (line["step"], float(line[name]))
        for line in lines
        if isinstance(line.get(name), int | float) and math.isfinite(line[name])
    ]
    stride = -(-len(points) // MOST_POINTS) or 1
    # Backwards, so that the last point is always drawn.
    return points[::-1][::stride][::-1]


def _shown(value: Any) -> str:
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
