"""Draws the pictures of the documentation: the pipeline, and the funnel and loss curve of a demo.

    python -m tools.draw_pictures [--from DEMO_FOLDER]

`docs/pictures/demo.json` holds the numbers; `--from` replaces them by those of a finished demo.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from corpus.storage.store import open_store
from corpus.tables.manifest import read_manifest

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
NUMBERS = PICTURES / "demo.json"
BATCH, RUN = "demo", "tiny"

# GitHub and the site show pictures on their own ground: a white one is drawn below.
STYLE = """<style>
text { font: 14px system-ui, sans-serif; fill: #24292f }
.small { font-size: 12px; fill: #57606a }
.bold { font-weight: 600 }
.kept { fill: #2f81f7 }
.left { fill: #d0d7de }
.line { fill: none; stroke: #2f81f7; stroke-width: 2 }
.axis { fill: none; stroke: #d0d7de }
.box { fill: #f6f8fa; stroke: #8c959f }
.stage { fill: none; stroke: #57606a; stroke-width: 1.5; marker-end: url(#head) }
</style>"""

FUNNEL = (
    ("submissions", "links", "rows read from the dump"),
    ("links", "pages", "distinct pages"),
    ("pages fetched", "documents", "stored as WARC records"),
    ("documents", "verdicts", "English, long enough, readable"),
    ("kept", "tokens", "not duplicates"),
)

# (table, meaning, module that makes it, work of the module)
ARROWS = (
    ("dump", "RS_2024-01.zst", "", ""),
    ("links", "one row per page", "crawl.links", "select, group"),
    ("pages", "WARC + index", "crawl.fetch", "robots, guard, pace"),
    ("documents", "text, one row each", "clean", "extract, judge"),
    ("verdicts", "kept, or why not", "dedup", "minhash, verify"),
    ("tokens", "Parquet + snapshot", "shards", "encode, hold out"),
    ("model", "checkpoints, scores", "train", "stream, train, score"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write every picture."""
    parser = argparse.ArgumentParser(prog="tools.draw_pictures", description=__doc__)
    parser.add_argument("--from", dest="demo", metavar="DEMO_FOLDER", help="a finished demo")
    args = parser.parse_args(argv)

    PICTURES.mkdir(exist_ok=True)
    if args.demo is not None:
        numbers = read_demo(Path(args.demo))
        NUMBERS.write_text(json.dumps(numbers, indent=1, sort_keys=True) + "\n", "utf-8")

    for path, picture in pictures():
        path.write_text(picture, "utf-8")
    return 0


def pictures() -> Iterator[tuple[Path, str]]:
    """Yield (path, SVG) of every picture."""
    numbers = json.loads(NUMBERS.read_text("utf-8"))
    yield PICTURES / "pipeline.svg", pipeline()
    yield PICTURES / "funnel.svg", funnel(numbers)
    yield PICTURES / "loss.svg", loss(numbers["loss"])


def read_demo(folder: Path) -> dict[str, Any]:
    """Collect rows, reasons and losses of a finished demo."""
    store = open_store(str(folder / "corpus"))
    manifests = {
        name: read_manifest(store, name, BATCH)
        for name in ("links", "pages", "documents", "verdicts", "tokens")
    }
    metrics = store.read_bytes(f"runs/{RUN}/metrics.jsonl").decode().splitlines()
    lines = [json.loads(line) for line in metrics]

    return {
        "rows": {
            "submissions": manifests["links"].details["rows_read"],
            "links": manifests["links"].rows,
            "pages fetched": manifests["pages"].counts["fetched"],
            "documents": manifests["documents"].rows,
            "kept": manifests["verdicts"].counts["kept"],
        },
        "reasons": {
            name: {key: count for key, count in manifest.counts.items() if ":" not in key}
            for name, manifest in manifests.items()
        },
        "tokens": manifests["tokens"].counts["tokens:train"],
        "loss": [
            [line["step"], round(line["val_loss"], 4)] for line in lines if "val_loss" in line
        ],
    }


def pipeline() -> str:
    """The numbered pipeline from dump to model, with the module that makes each table."""
    width, gap, top = 112, 62, 46
    parts = [
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#57606a"/></marker></defs>'
    ]

    for number, (table, meaning, module, work) in enumerate(ARROWS):
        # Two rows: the second one starts below the first.
        row, column = divmod(number, 4)
        x, y = 20 + column * (width + gap), top + row * 150
        parts.append(f'<rect class="box" x="{x}" y="{y}" width="{width}" height="52" rx="6"/>')
        parts.append(_text(x + width / 2, y + 22, table, "bold"))
        parts.append(_text(x + width / 2, y + 41, meaning, "small", size=10))
        if not module:
            continue

        if column:
            parts.append(f'<path class="stage" d="M{x - gap},{y + 26} H{x - 2}"/>')
            middle, above = x - gap / 2, y - 10
        else:
            before = 20 + 3 * (width + gap) + width / 2
            parts.append(
                f'<path class="stage" d="M{before},{y - 98} V{y - 44} H{x + width / 2} V{y - 2}"/>'
            )
            middle, above = (x + width / 2 + before) / 2, y - 54

        parts.append(_text(middle, above - 14, f"{number} {module}", "bold", size=12))
        parts.append(_text(middle, above, work, "small", size=10))

    return _svg(
        4 * (width + gap) + 6, top + 150 + 72, parts, "The way of a page from dump to model"
    )


def funnel(numbers: dict[str, Any]) -> str:
    """Bars for the rows left after each stage, with the most frequent reasons for the others."""
    rows, reasons = numbers["rows"], numbers["reasons"]
    most = max(rows.values())
    parts = []

    for number, (name, later, meaning) in enumerate(FUNNEL):
        y = 20 + number * 54
        length = 420 * rows[name] / most
        parts.append(f'<rect class="left" x="150" y="{y}" width="420" height="22" rx="3"/>')
        parts.append(
            f'<rect class="kept" x="150" y="{y}" width="{length:.0f}" height="22" rx="3"/>'
        )
        parts.append(_text(140, y + 16, name, "bold", anchor="end"))
        parts.append(_text(582, y + 16, f"{rows[name]:,}", "bold", anchor="start"))

        lost = {
            reason: count
            for reason, count in reasons[later].items()
            if reason not in ("kept", "fetched", "train_documents", "val_documents", "not_kept")
        }
        largest = sorted(lost.items(), key=lambda item: (-item[1], item[0]))[:3]
        after = ", ".join(f"{reason} {count:,}" for reason, count in largest if count)
        parts.append(
            _text(
                150, y + 38, f"{meaning}{'; then out: ' if after else ''}{after}", "small", "start"
            )
        )

    last = 20 + len(FUNNEL) * 54
    parts.append(_text(150, last + 4, f"{numbers['tokens']:,} training tokens", "bold", "start"))
    return _svg(680, last + 24, parts, "Funnel of a demo run")


def loss(points: Sequence[Sequence[float]]) -> str:
    """The curve of the validation loss."""
    steps = [step for step, _ in points]
    values = [value for _, value in points]
    top, bottom = max(values), min(values)
    places = [
        (
            70 + 470 * (step - steps[0]) / (steps[-1] - steps[0]),
            30 + 150 * (top - value) / (top - bottom),
        )
        for step, value in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)

    parts = [
        '<path class="axis" d="M60,20 V190 H550"/>',
        f'<polyline class="line" points="{line}"/>',
        *(f'<circle class="kept" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places),
        _text(54, places[0][1] + 5, f"{values[0]:.2f}", "small", "end"),
        _text(54, places[-1][1] + 5, f"{values[-1]:.2f}", "small", "end"),
        _text(540, 208, f"step {steps[-1]:,}", "small", "end"),
        _text(300, 208, "validation loss of the demo's model, nats per token", "small"),
    ]

    return _svg(580, 222, parts, "Validation loss of a demo run")


def _text(
    x: float, y: float, text: str, kind: str = "", anchor: str = "middle", size: int | None = None
) -> str:
    style = f' style="font-size:{size}px"' if size else ""
    return (
        f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}"{style}>'
        f"{escape(text)}</text>"
    )


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">\n'
        f'{STYLE}\n<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    raise SystemExit(main())
