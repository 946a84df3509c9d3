"""The corpus as one offline HTML file: funnel with reasons, top domains, loss curves, samples.

    webtext report --corpus C [--ablation DIR]

Everything is read from manifests, tables and run folders; nothing is recomputed. All styles and
drawings are inside the file, and every text of the corpus is escaped, since pages come from
strangers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import pyarrow.compute as pc

from corpus.errors import InputError
from corpus.run import command
from corpus.snapshots.snapshot import SPLITS, read_heads
from corpus.snapshots.snapshot_remarks import Reviewer
from corpus.storage.store import Store, open_corpus
from corpus.tables.manifest import batches, find_manifest
from corpus.tables.parquet import iter_tables, part_paths
from corpus.tables.staleness import stale_among
from webtext.reports import ablations as ablation_reports
from webtext.reports import charts, documents, kept_share, removals, years
from webtext.reports.ablations import Ablation, add_ablation_option, read_ablations
from webtext.reports.charts import escaped
from webtext.reports.funnel import Bar, batch_bars, summed
from webtext.reports.runs import last_sample, read_metrics, read_scores

PATH = "reports/report.html"
TOP_DOMAINS = 20
SAMPLES_SHOWN = 3
SAMPLE_CHARACTERS = 1500


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.report")


def _main(argv: Sequence[str] | None) -> int:
    parser = command.corpus_parser("webtext.report", __doc__ or "")
    add_ablation_option(parser)
    args = parser.parse_args(argv)
    path = write(open_corpus(args.corpus), read_ablations(args.ablation))
    print(f"report: {path}")
    if args.json:
        print(json.dumps({"corpus": args.corpus, "report": path}))
    return 0


def write(store: Store, ablations: Sequence[Ablation] = ()) -> str:
    """Write the report; its path or URI. Raises InputError for a corpus without a batch."""
    links = batches(store, "links")
    if not links:
        raise InputError(
            f"{store.root}: no batch is committed yet; begin with `webtext crawl --corpus {store.root} --batch B --dumps FILE`"
        )

    # One scale for the bars of all batches makes them comparable.
    funnels = {manifest.batch: batch_bars(store, manifest.batch) for manifest in links}
    most = max(bar.rows for funnel in funnels.values() for bar in funnel)
    sections = [_all(list(funnels.values())), _runs(store)]
    sections += [_batch(store, batch, funnel, most) for batch, funnel in funnels.items()]
    sections.append(years.section(store, [manifest.batch for manifest in links]))
    sections.append(_snapshots(store))
    sections.append(_domains(store, [manifest.batch for manifest in links]))
    sections.extend(_run(store, run) for run in store.folders("runs"))
    sections.extend(ablation_reports.section(each) for each in ablations)
    store.write_bytes(PATH, page(store.root, sections).encode())

    return f"{store.root}/{PATH}"


def _all(funnels: Sequence[Sequence[Bar]]) -> str:
    """The rows after each stage, over all batches."""
    rows: list[tuple[str, int, int | None]] = [
        (bar.label, bar.rows, None) for bar in summed(funnels)
    ]
    return f"<section><h2>All batches</h2>{charts.bars(rows, 'rows after each stage')}</section>"


def _runs(store: Store) -> str:
    """The validation losses of all runs on shared axes; empty for fewer than two."""
    bands = []
    for run in store.folders("runs"):
        lines = read_metrics(store, run)
        points = [(line["step"], line["val_loss"]) for line in lines if "val_loss" in line]
        bands.append((run, charts.band(points)))
    if len(bands) < 2:
        return ""

    drawing = charts.compared(bands, "validation loss, nats per token, by step")
    return f"<section><h2>Runs</h2>{drawing}</section>"


def _batch(store: Store, batch: str, funnel: Sequence[Bar], most: int) -> str:
    found = {
        name: find_manifest(store, name, batch)
        for name in ("links", "pages", "documents", "verdicts", "tokens")
    }
    rows = "".join(
        f"<tr><th>{escaped(bar.label)}</th><td class=n>{bar.rows:,}</td><td class=w>{charts.bar(bar.rows, most)}</td>"
        f"<td class=r>{_reasons(bar)}</td></tr>"
        for bar in funnel
    )
    stale = stale_among(store, [(name, batch) for name in found])
    marks = "".join(
        f"<p class=warning>{escaped(each.table)} is stale: {escaped(each.why)}.</p>"
        for each in stale
        if each.batch == batch
    )
    tokens = found["tokens"]
    total = (
        f"<p>{sum(int(part.metadata.get('num_tokens', 0)) for part in tokens.parts):,} tokens.</p>"
        if tokens
        else ""
    )

    extracted = found["documents"]
    shares = kept_share.section(extracted.counts) if extracted else ""

    return f"<section><h2>Batch {escaped(batch)}</h2>{marks}<table class=bars>{rows}</table>{total}{shares}{documents.section(store, batch)}{removals.section(store, batch)}</section>"


def _reasons(bar: Bar) -> str:
    return ", ".join(
        f"{escaped(reason.replace('_', ' '))} <b>{count:,}</b>" for reason, count in bar.lost
    )


def _domains(store: Store, names: Sequence[str]) -> str:
    linked: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for batch in names:
        linked.update(_count_domains(store, "links", batch))
        kept.update(_count_domains(store, "documents", batch))

    ranked = sorted(linked.items(), key=lambda item: (-item[1], item[0]))[:TOP_DOMAINS]
    rows = [(domain, f"{count:,}", f"{kept[domain]:,}") for domain, count in ranked]
    shown = charts.bars(
        [(domain, count, kept[domain]) for domain, count in ranked], "documents of links by domain"
    )
    shown += charts.table(("", "links", "documents"), rows)

    return f"<section><h2>Top domains</h2><p>{len(linked):,} domains in all.</p>{shown}</section>"


def _snapshots(store: Store) -> str:
    """The snapshots with their tokens, and remarks for their users."""
    rows = []
    heads = read_heads(store)
    reviewer = Reviewer(store, heads)
    for snapshot in heads:
        tokens = [f"{snapshot.splits[split].num_tokens:,}" for split in SPLITS]
        made_of = ", ".join(each.batch for each in snapshot.batches)
        rows.append((snapshot.name, made_of, "; ".join(reviewer.remarks(snapshot)), *tokens))

    if not rows:
        return ""
    shown = charts.table(("", "batches", "remarks", *SPLITS), rows, words=3)
    return f"<section><h2>Snapshots</h2>{shown}</section>"


def _count_domains(store: Store, table: str, batch: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    if find_manifest(store, table, batch) is None:
        return counts

    for path in part_paths(store, table, batch):
        for piece in iter_tables(store, path, ["domain"]):
            for entry in pc.value_counts(piece["domain"]).to_pylist():
                counts[entry["values"]] += entry["counts"]

    return counts


def _run(store: Store, run: str) -> str:
    lines = read_metrics(store, run)
    curves = {
        "training": [(int(line["step"]), float(line["loss"])) for line in lines if "loss" in line],
        "validation": [
            (int(line["step"]), float(line["val_loss"])) for line in lines if "val_loss" in line
        ],
    }
    text = last_sample(store, run)
    shown = "".join(
        f"<pre>{escaped(sample.strip()[:SAMPLE_CHARACTERS])}</pre>"
        for sample in text.split("\n\n=====\n\n")[:SAMPLES_SHOWN]
        if sample.strip()
    )

    return f"<section><h2>Run {escaped(run)}</h2>{charts.curve(curves)}{_scores(store, run)}<h3>Samples</h3>{shown or '<p>None yet.</p>'}</section>"


def _scores(store: Store, run: str) -> str:
    scores = read_scores(store, run)
    if not scores:
        return ""

    rows = "".join(
        f"<tr><th>{escaped(name)}</th><td class=n>{escaped(value)}</td></tr>"
        for name, value in scores
    )
    return f"<h3>Scores</h3>{_score_table(store, run)}<details><summary>All figures</summary><table>{rows}</table></details>"


def _score_table(store: Store, run: str) -> str:
    """The Markdown table beside the scores: best before, the paper's four sizes, this model."""
    try:
        lines = store.read_bytes(f"runs/{run}/scores.md").decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""

    head, *rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in lines
        if not line.startswith("| ---")
    ] or [[]]

    return charts.table(head, rows, words=2)


STYLE = """
body{font:16px/1.5 Georgia,serif;color:#222;background:#fdfcfa;max-width:960px;margin:2rem auto;padding:0 1rem}
h1,h2,h3{font-weight:600;line-height:1.2}section{margin:2.5rem 0}
table{border-collapse:collapse;font:14px/1.4 system-ui,sans-serif;width:100%}
th{text-align:left;font-weight:500;padding:.25rem .75rem .25rem 0;white-space:nowrap;vertical-align:top}
td{padding:.25rem .75rem .25rem 0;vertical-align:top}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bars .w{width:28%}.bars i{display:block;height:1rem;background:#3b6ea5}.r{color:#666}tr{border-bottom:1px solid #e6e2da}
.h th{color:#666}table+table{margin-top:1.5rem}
svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#666}.y{text-anchor:end;dominant-baseline:middle}
.v{dominant-baseline:middle}.x{text-anchor:middle}.g{stroke:#e6e2da}polyline{fill:none;stroke-width:2}
polyline.training{stroke:#9db8d6;stroke-width:1.2}polyline.validation{stroke:#b3392f}
.key span{font-weight:600;margin-right:.75rem}.swatch{width:.8em;height:.8em}.key .training{color:#5d86b3}.key .validation{color:#b3392f}
section{overflow-x:auto}.warning{color:#a3301f}
pre{white-space:pre-wrap;background:#f3efe7;padding:1rem;font:13px/1.45 ui-monospace,monospace;overflow-wrap:anywhere}
@media (prefers-color-scheme:dark){
body{color:#ddd;background:#181a1d}pre{background:#23262b}tr{border-color:#3a3d42}.g{stroke:#3a3d42}
.r,.h th,svg text{color:#a5a8ad;fill:#a5a8ad}.warning{color:#ff9a86}
}
@media print{
body{max-width:none;margin:0;color:#000;background:#fff}section{break-inside:auto;overflow:visible}
h2,h3{break-after:avoid}tr,svg,pre{break-inside:avoid}.bars i{print-color-adjust:exact}
pre{color:#000;background:#fff;border:1px solid #ccc}.r,.h th,svg text{color:#333;fill:#333}
}
"""


def page(title: str, sections: Iterable[str]) -> str:
    """A whole page in the style of the reports."""
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>webtext: {escaped(title)}</title><style>{STYLE}</style><h1>webtext</h1><p>{escaped(title)}, written {written}</p>{''.join(sections)}</html>\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
