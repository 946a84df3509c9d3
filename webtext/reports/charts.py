"""Drawing of the report: escaped text, tables, bars and curves as plain HTML and SVG, no script."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean


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


# Colours of lines in their order, told apart by people who see red as green.
COLOURS = ("#3b6ea5", "#d1802a", "#7a5ea8", "#3d8b6d", "#b3392f", "#8a6d3b")
WIDTH, HEIGHT, LEFT, BOTTOM, MARGIN = 720, 320, 64, 36, 12
GRID_LINES = 5
# Points of a curve that a step is chosen by.
STEPS_SHOWN = 40
LABEL_WIDTH, ROW_HEIGHT = 200, 26
DIGIT_WIDTH = 7  # of the labels' 12 pixels


def bars(rows: Sequence[tuple[str, int, int | None]], of: str) -> str:
    """Horizontal bars as an SVG picture: a label, a count, and the part of it that is drawn full."""
    most = max((count for _, count, _ in rows), default=0) or 1
    space = WIDTH - LABEL_WIDTH - 90
    shapes = []
    for number, (label, count, part) in enumerate(rows):
        y = ROW_HEIGHT * number
        middle = f"{y + ROW_HEIGHT / 2:.0f}"
        wide = space * count / most
        shapes.append(f"<text x={LABEL_WIDTH - 8} y={middle} class=y>{escaped(label)}</text>")
        opacity = "1" if part is None else ".35"
        for length, shade in ((wide, opacity), (space * (part or 0) / most, "1")):
            shapes.append(
                f"<rect x='{LABEL_WIDTH}' y='{y + 3}' width='{max(length, 0):.1f}' height='{ROW_HEIGHT - 6}' "
                f"fill='{COLOURS[0]}' opacity='{shade}'/>"
            )
        shown = f"{count:,}" if part is None else f"{part:,} of {count:,}"
        shapes.append(f"<text x={LABEL_WIDTH + wide + 6:.0f} y={middle} class=v>{shown}</text>")

    height = ROW_HEIGHT * max(1, len(rows))
    return f"<svg viewBox='0 0 {WIDTH} {height}' role=img aria-label='{escaped(of)}'>{''.join(shapes)}</svg>"


Curve = list[tuple[int, float]]
# A place on the horizontal axis with the lowest, middle and highest value there.
Band = list[tuple[int, float, float, float]]


def band(points: Sequence[tuple[int, float]]) -> Band:
    """A curve as a band without width. Values that are not numbers are left out."""
    return [(at, value, value, value) for at, value in points if math.isfinite(value)]


def draw_seeds(named: Iterable[tuple[str, Iterable[Curve]]]) -> str:
    """Mean curves of an ablation's arms, with bands over their seeds."""
    return compared(
        [(name, _spread(curves)) for name, curves in named],
        "bits per byte of the held-out texts by tokens seen; bands from the lowest to the highest seed",
    )


def _spread(curves: Iterable[Curve]) -> Band:
    """Tokens, and the lowest, mean and highest value, where every seed was evaluated."""
    by_tokens: dict[int, list[float]] = {}
    num = 0
    for points in curves:
        num += 1
        for tokens, value in points:
            by_tokens.setdefault(tokens, []).append(value)

    return [
        (tokens, min(values), fmean(values), max(values))
        for tokens, values in sorted(by_tokens.items())
        if len(values) == num
    ]


def compared(
    bands: Sequence[tuple[str, Band]], of: str, links: Sequence[str | None] | None = None
) -> str:
    """Several curves on shared axes as SVG with a key: middles as lines, and bands around them.

    Colours are attributes and not styles, so a page whose policy forbids inline styles shows them.
    `links` are addresses with `{step}`, one a curve: then its points lead to the step there.
    """
    bands = [(name, points) for name, points in bands if points]
    values = [value for _, points in bands for point in points for value in point[1:]]
    if not values:
        return "<p>No curve yet.</p>"

    last = max(points[-1][0] for _, points in bands) or 1
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def place(at: float, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - MARGIN) * at / last
        y = MARGIN + (HEIGHT - BOTTOM - MARGIN) * (high - value) / span
        return f"{x:.1f},{y:.1f}"

    shapes, key = [], []
    for number, (name, points) in enumerate(bands):
        colour = COLOURS[number % len(COLOURS)]
        outline = [place(at, top) for at, _, _, top in points]
        outline += [place(at, bottom) for at, bottom, _, _ in reversed(points)]
        line = " ".join(place(at, middle) for at, _, middle, _ in points)
        shapes.append(f"<polygon points='{' '.join(outline)}' fill='{colour}' opacity='.18'/>")
        shapes.append(f"<polyline points='{line}' stroke='{colour}'/>")
        swatch = f"<svg class=swatch viewBox='0 0 1 1' aria-hidden=true><rect width='1' height='1' fill='{colour}'/></svg>"
        key.append(f"<span>{swatch} {escaped(name)}</span>")
        if links and (link := links[number]):
            shapes.append(_steps(points, link, colour, place))

    # A picture hides its parts from readers of screens, so one with links is a group.
    role = "group" if links else "img"
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role={role} aria-label='{escaped(of)}'>"
        f"{''.join(_grid(place, last, low, span))}{''.join(shapes)}</svg>"
        f"<p class=key>{' '.join(key)} {escaped(of)}</p>"
    )


def _steps(points: Band, link: str, colour: str, place: Callable[[float, float], str]) -> str:
    """Points of a curve that lead to their steps, at most `STEPS_SHOWN` of them."""
    every = -(-len(points) // STEPS_SHOWN)
    drawn = []
    for at, _, middle, _ in points[::every]:
        x, _, y = place(at, middle).partition(",")
        if at:
            address = escaped(link.replace("{step}", str(at)))
            drawn.append(
                f"<a href='{address}' tabindex='-1' aria-label='step {at}'>"
                f"<circle cx='{x}' cy='{y}' r='5' fill='{colour}'><title>step {at:,}: {middle:.4f}</title></circle></a>"
            )
    return "".join(drawn)


def _grid(
    place: Callable[[float, float], str], last: int, low: float, span: float
) -> Iterable[str]:
    for index in range(GRID_LINES):
        share = index / (GRID_LINES - 1)
        y = place(0, low + span * share).partition(",")[2]
        x = place(last * share, low).partition(",")[0]
        yield f"<line x1={LEFT} x2={WIDTH - MARGIN} y1={y} y2={y} class=g />"
        yield f"<text x={LEFT - 8} y={y} class=y>{low + span * share:.3f}</text>"
        yield _below(x, f"{last * share:,.0f}", WIDTH, HEIGHT)


def _below(x: str, label: str, width: int, height: int) -> str:
    """A label centred below a place of the horizontal axis, but whole within the picture."""
    centre = min(float(x), width - len(label) * DIGIT_WIDTH / 2)
    return f"<text x={centre:.1f} y={height - 16} class=x>{label}</text>"


def curve(curves: dict[str, list[tuple[int, float]]]) -> str:
    """Losses (nats per token) over steps by name: an SVG drawing with its key and end points."""
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
        grid.append(_below(x, f"{step:,}", width, height))

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
