"""The corpus as one HTML file that opens offline: funnel with reasons, top domains, loss curves, samples.

    python -m corpus.report CORPUS

Everything shown is read from manifests, tables and run folders; nothing is computed that is not there. All styles
and drawings are inside the file, and every text of the corpus is escaped: pages are other people's words.
"""

from __future__ import annotations

import html
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from corpus import cli
from corpus.errors import InputError
from corpus.layout import Store, open_corpus
from corpus.manifest import Manifest, batches, find_manifest
from corpus.tables import iter_tables, part_paths

PATH = "reports/report.html"
TOP_DOMAINS = 20
SAMPLES_SHOWN = 3
SAMPLE_CHARACTERS = 1500


def main(argv: Sequence[str] | None = None) -> int:
    """The door."""
    return cli.door(_main, argv, stage="corpus.report")


def _main(argv: Sequence[str] | None) -> int:
    args = cli.corpus_parser("corpus.report", __doc__ or "").parse_args(argv)
    path = write(open_corpus(args.corpus))
    print(f"report: {path}")
    if args.json:
        print(json.dumps({"corpus": args.corpus, "report": path}))
    return 0


def write(store: Store) -> str:
    """Write the report; its path or URI. Raises InputError for a corpus without a batch."""
    links = batches(store, "links")
    if not links:
        raise InputError(
            f"{store.root}: no batch is committed yet; begin with `python -m crawl.run --corpus {store.root} --batch B --dumps FILE`"
        )
    sections = [_batch(store, manifest.batch) for manifest in links]
    sections.append(_domains(store, [manifest.batch for manifest in links]))
    sections.extend(_run(store, run) for run in store.folders("runs"))
    store.write_bytes(PATH, _page(store.root, sections).encode())
    return f"{store.root}/{PATH}"


# ---- the funnel ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """One stage of the funnel."""

    label: str
    rows: int
    lost: list[tuple[str, int]]
    """What did not go on from here, by reason."""


def _batch(store: Store, batch: str) -> str:
    found = {
        name: find_manifest(store, name, batch)
        for name in ("links", "pages", "documents", "verdicts", "tokens")
    }
    bars = [bar for name, manifest in found.items() if manifest is not None for bar in _bars(name, manifest)]
    most = max((bar.rows for bar in bars), default=1)
    rows = "".join(
        f"<tr><th>{_e(bar.label)}</th><td class=n>{bar.rows:,}</td><td class=w><i style='width:{max(0.2, 100 * bar.rows / max(1, most)):.1f}%'></i></td>"
        f"<td class=r>{_reasons(bar)}</td></tr>"
        for bar in bars
    )
    tokens = found["tokens"]
    total = (
        f"<p>{sum(int(part.metadata.get('num_tokens', 0)) for part in tokens.parts):,} tokens.</p>"
        if tokens
        else ""
    )
    return f"<section><h2>Batch {_e(batch)}</h2><table class=funnel>{rows}</table>{total}</section>"


def _bars(name: str, manifest: Manifest) -> Iterable[Bar]:
    counts = Counter({reason: count for reason, count in manifest.counts.items() if ":" not in reason})
    if name == "links":
        kept = counts.pop("kept", 0)
        yield Bar("submissions read", int(manifest.details.get("rows_read", 0)), _most(counts))
        yield Bar("link submissions kept", kept, [])
        yield Bar("distinct links", manifest.rows, [])
    elif name == "pages":
        fetched = counts.pop("fetched", 0)
        yield Bar("pages fetched", fetched, _most(counts))
    elif name == "documents":
        counts.pop("kept", None)
        yield Bar("documents", manifest.rows, _most(counts))
    elif name == "verdicts":
        kept = counts.pop("kept", 0)
        yield Bar("documents kept", kept, _most(counts))


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(
        ((reason, count) for reason, count in counts.items() if count), key=lambda item: (-item[1], item[0])
    )


def _reasons(bar: Bar) -> str:
    return ", ".join(f"{_e(reason.replace('_', ' '))} <b>{count:,}</b>" for reason, count in bar.lost)


# ---- domains ---------------------------------------------------------------------------------------------------


def _domains(store: Store, names: Sequence[str]) -> str:
    linked: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for batch in names:
        linked.update(_count_domains(store, "links", batch))
        kept.update(_count_domains(store, "documents", batch))
    rows = "".join(
        f"<tr><th>{_e(domain)}</th><td class=n>{count:,}</td><td class=n>{kept[domain]:,}</td></tr>"
        for domain, count in sorted(linked.items(), key=lambda item: (-item[1], item[0]))[:TOP_DOMAINS]
    )
    head = "<tr><td></td><td class=n>links</td><td class=n>documents</td></tr>"
    return f"<section><h2>Top domains</h2><p>{len(linked):,} domains in all.</p><table>{head}{rows}</table></section>"


def _count_domains(store: Store, table: str, batch: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    if find_manifest(store, table, batch) is None:
        return counts
    for path in part_paths(store, table, batch):
        for piece in iter_tables(store, path, ["domain"]):
            for entry in pc.value_counts(piece["domain"]).to_pylist():
                counts[entry["values"]] += entry["counts"]
    return counts


# ---- training runs ---------------------------------------------------------------------------------------------


def _run(store: Store, run: str) -> str:
    lines = _metrics(store, run)
    curves = {
        "training": [(int(line["step"]), float(line["loss"])) for line in lines if "loss" in line],
        "validation": [(int(line["step"]), float(line["val_loss"])) for line in lines if "val_loss" in line],
    }
    samples = [path for path, _ in store.files(f"runs/{run}/samples")]
    text = store.read_bytes(samples[-1]).decode(errors="replace") if samples else ""
    shown = "".join(
        f"<pre>{_e(sample.strip()[:SAMPLE_CHARACTERS])}</pre>"
        for sample in text.split("\n\n=====\n\n")[:SAMPLES_SHOWN]
        if sample.strip()
    )
    return f"<section><h2>Run {_e(run)}</h2>{_curve(curves)}{_scores(store, run)}<h3>Samples</h3>{shown or '<p>None yet.</p>'}</section>"


def _metrics(store: Store, run: str) -> list[dict[str, Any]]:
    try:
        data = store.read_bytes(f"runs/{run}/metrics.jsonl").decode()
    except FileNotFoundError:
        return []
    lines = []
    for line in data.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue  # the last line of a killed run may be cut short
    return lines


def _scores(store: Store, run: str) -> str:
    try:
        scores = store.read_json(f"runs/{run}/scores.json")
    except FileNotFoundError:
        return ""
    rows = "".join(
        f"<tr><th>{_e(name)}</th><td class=n>{_e(value)}</td></tr>" for name, value in _flat(scores)
    )
    return f"<h3>Scores</h3>{_score_table(store, run)}<details><summary>All figures</summary><table>{rows}</table></details>"


def _score_table(store: Store, run: str) -> str:
    """The Markdown table beside the scores: best before, the paper's four sizes, this checkpoint."""
    try:
        lines = store.read_bytes(f"runs/{run}/scores.md").decode("utf-8").splitlines()
    except FileNotFoundError:
        return ""
    head, *rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in lines
        if not line.startswith("| ---")
    ] or [[]]
    top = "".join(f"<th>{_e(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=n' if i > 1 else ''}>{_e(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _flat(value: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix} {key}".strip())
    elif isinstance(value, float):
        yield prefix, f"{value:.4g}"
    elif not isinstance(value, list):
        yield prefix, str(value)


def _curve(curves: dict[str, list[tuple[int, float]]]) -> str:
    """The losses over steps as an SVG drawing, with axes in words a reader needs."""
    curves = {name: [point for point in points if math.isfinite(point[1])] for name, points in curves.items()}
    points = [point for curve in curves.values() for point in curve]
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
        f"<polyline class='{name}' points='{' '.join(place(*point) for point in curve)}' />"
        for name, curve in curves.items()
        if curve
    )
    ends = "; ".join(
        f"{name} {curve[0][1]:.3f} to {curve[-1][1]:.3f}" for name, curve in curves.items() if curve
    )
    key = "<p class=key><span class=training>training</span> <span class=validation>validation</span> loss, nats per token, by step</p>"
    return f"<svg viewBox='0 0 {width} {height}' role=img aria-label='loss curve'>{''.join(grid)}{lines}</svg>{key}<p>{_e(ends)}.</p>"


# ---- the page --------------------------------------------------------------------------------------------------

STYLE = """
body{font:16px/1.5 Georgia,serif;color:#222;background:#fdfcfa;max-width:960px;margin:2rem auto;padding:0 1rem}
h1,h2,h3{font-weight:600;line-height:1.2}section{margin:2.5rem 0}
table{border-collapse:collapse;font:14px/1.4 system-ui,sans-serif;width:100%}
th{text-align:left;font-weight:500;padding:.25rem .75rem .25rem 0;white-space:nowrap;vertical-align:top}
td{padding:.25rem .75rem .25rem 0;vertical-align:top}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.funnel .w{width:28%}.funnel i{display:block;height:1rem;background:#3b6ea5}.r{color:#666}tr{border-bottom:1px solid #e6e2da}
svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#666}.y{text-anchor:end;dominant-baseline:middle}
.x{text-anchor:middle}.g{stroke:#e6e2da}polyline{fill:none;stroke-width:2}
polyline.training{stroke:#9db8d6;stroke-width:1.2}polyline.validation{stroke:#b3392f}
.key span{font-weight:600}.key .training{color:#5d86b3}.key .validation{color:#b3392f}
pre{white-space:pre-wrap;background:#f3efe7;padding:1rem;font:13px/1.45 ui-monospace,monospace;overflow-wrap:anywhere}
"""


def _page(title: str, sections: Iterable[str]) -> str:
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>webtext: {_e(title)}</title><style>{STYLE}</style><h1>webtext</h1><p>{_e(title)}</p>{''.join(sections)}</html>\n"
    )


def _e(text: object) -> str:
    return html.escape(str(text), quote=True)


if __name__ == "__main__":
    raise SystemExit(main())
