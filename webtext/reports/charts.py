"""Drawing of the report: escaped text, tables, bars and curves as plain HTML and SVG, no script."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence


def escaped(text: object) -> str:
    """Escape text for HTML, attributes included."""
    return html.escape(str(text), quote=True)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, words: int = 1) -> str:
    """A table with the first `words` columns as words (left) and the others as numbers (right)."""

    def cells(row: Sequence[object], tag: str) -> str:
        return "".join(
            f"<{tag}{'' if index < words else ' class=n'}>{escaped(cell)}</{tag}>"
            for index, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><tr class=h>{cells(head, 'th')}</tr>{body}</table>"


def bar(count: int, most: int) -> str:
    """A bar of length `count` of `most`; the shortest stays visible."""
    return f"<i style='width:{max(0.2, 100 * count / max(1, most)):.1f}%'></i>"


def curve(curves: dict[str, list[tuple[int, float]]]) -> str:
    """Losses (nats per token) over steps by name, as an SVG drawing with its key and its ends in words."""
    curves = {
        name: [point for point in points if math.isfinite(point[1])]
        for name, points in curves.items()
    }
    points = [point for each in curves.values() for point in each]
    if len(points) < 2:
        return "<p>No loss curve yet.</p>"

    width, height, left, bottom = 720, 300, 56, 36
    last = max(step for step, _ in points) or 1
    low, high = (
        math.floor(min(loss for _, loss in points) * 2) / 2,
        math.ceil(max(loss for _, loss in points) * 2) / 2,
    )
    span = (high - low) or 1.0

    def place(step: int, loss: float) -> str:
        x = left + (width - left - 12) * step / last
        y = 12 + (height - bottom - 12) * (high - loss) / span
        return f"{x:.1f},{y:.1f}"

    grid = []
    for index in range(5):
        loss = low + span * index / 4
        y = place(0, loss).partition(",")[2]
        grid.append(
            f"<line x1={left} x2={width - 12} y1={y} y2={y} class=g /><text x={left - 8} y={y} class=y>{loss:.2f}</text>"
        )
        step = last * index // 4
        x = place(step, low).partition(",")[0]
        grid.append(f"<text x={x} y={height - 16} class=x>{step:,}</text>")

    lines = "".join(
        f"<polyline class='{name}' points='{' '.join(place(*point) for point in each)}' />"
        for name, each in curves.items()
        if each
    )
    ends = "; ".join(
        f"{name} {each[0][1]:.3f} to {each[-1][1]:.3f}" for name, each in curves.items() if each
    )
    key = "<p class=key><span class=training>training</span> <span class=validation>validation</span> loss, nats per token, by step</p>"

    return f"<svg viewBox='0 0 {width} {height}' role=img aria-label='loss curve'>{''.join(grid)}{lines}</svg>{key}<p>{escaped(ends)}.</p>"
