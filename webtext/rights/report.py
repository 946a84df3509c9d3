"""The report of rights, and the public summary of training content.

All figures come from manifests and tables. The summary follows the template of the European
Commission of 2025-07-24 for Article 53(1)(d) of the AI Act: the crawler's name and behaviour, the
period, the sizes by modality, and the top domains: the first 10 % by size (small companies: 5 %, at
most 1,000).
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from corpus.rights.policy import obeyed_signals
from corpus.storage.store import Store
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import read_table
from corpus.tables.takedown_list import takedowns
from webtext.rights.identity import crawler_names

FOLDER = "reports"
TOP_SHARE = 0.10
SMALL_SHARE, SMALL_MOST = 0.05, 1000
SHOWN_DOMAINS = 50


def rights_report(store: Store) -> dict[str, Any]:
    """The figures of all batches."""
    by_answer, by_signal = Counter[str](), Counter[str]()
    by_year: dict[str, Counter[str]] = {}
    by_domain: dict[str, Counter[str]] = {}
    left_out = Counter[str]()
    sizes = Counter[str]()
    words = Counter[str]()
    days: list[str] = []
    names = batch_names(store)

    for batch in names:
        domains, years = _links(store, batch)
        rights = _table(store, "rights", batch, ["doc_id", "training", "signals"])
        for row in rights:
            by_answer[row["training"]] += 1
            year, domain = years.get(row["doc_id"], ""), domains.get(row["doc_id"], "")
            by_year.setdefault(year, Counter())[row["training"]] += 1
            if row["training"] in ("no", "conflict"):
                by_domain.setdefault(domain, Counter())[row["training"]] += 1
            said = {(each["signal"], each["says"]) for each in row["signals"]}
            by_signal.update(f"{signal}:{says}" for signal, says in said)

        for table in ("pages", "documents", "verdicts"):
            manifest = find_manifest(store, table, batch)
            for name, count in (manifest.counts if manifest is not None else {}).items():
                if name.startswith(("training_opt_out", "robots_disallowed", "taken_down")):
                    left_out[f"{table}:{name}"] += count
        days += _fetch_days(store, batch)
        _add_sizes(store, batch, sizes, words)

    top = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    return {
        "corpus": store.root,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "batches": names,
        "answers": dict(by_answer),
        "signals": dict(sorted(by_signal.items())),
        "years": {year: dict(counts) for year, counts in sorted(by_year.items())},
        "domains_with_no": _top_refusing(by_domain),
        "left_out": dict(sorted(left_out.items())),
        "takedowns": len(takedowns(store)),
        "summary": {
            "crawler": _crawler(store, names),
            "period": [min(days), max(days)] if days else None,
            "modalities": {"text": dict(sizes)},
            "num_domains": len(top),
            "top_domains": [name for name, _ in top[: _share(len(top), TOP_SHARE)]],
            "top_domains_small_company": [
                name for name, _ in top[: min(SMALL_MOST, _share(len(top), SMALL_SHARE))]
            ],
        },
    }


def write(store: Store, report: dict[str, Any]) -> list[str]:
    """Write the report as JSON and as Markdown; their paths."""
    paths = [f"{FOLDER}/rights.json", f"{FOLDER}/rights.md"]
    store.write_bytes(paths[0], json.dumps(report, indent=1).encode() + b"\n")
    store.write_bytes(paths[1], render(report).encode() + b"\n")
    return paths


def render(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    summary = report["summary"]
    crawler = summary["crawler"]
    text = summary["modalities"]["text"]
    period = " to ".join(summary["period"]) if summary["period"] else "nothing was fetched"

    lines = [
        "# Rights and public summary of training content",
        "",
        f"Corpus `{report['corpus']}`, {report['made']}.",
        "",
        "## Data collected by a crawler (template of Article 53(1)(d), section 2.3)",
        "",
        f"- Crawler: {', '.join(crawler['names']) or 'none'}",
        f"- Period of collection: {period}",
        "- robots.txt (RFC 9309) is obeyed",
        f"- Opt-outs that are obeyed: {', '.join(crawler['obeyed']) or 'none'}",
        f"- Modality: text; {text.get('pages', 0):,} pages, {text.get('documents', 0):,} documents, "
        f"{text.get('words', 0):,} words, {text.get('tokens', 0):,} tokens",
        f"- Domains: {summary['num_domains']:,}; the top 10 % by size are in `rights.json`",
        "",
        "## Answers",
        "",
        *_table_lines("answer", report["answers"]),
        "",
        "## Signals",
        "",
        *_table_lines("signal and what it says", report["signals"]),
        "",
        "## Left out, and why",
        "",
        *_table_lines("table and reason", report["left_out"]),
        f"\nTake-downs: {report['takedowns']:,}",
        "",
        "## By year of the post",
        "",
        *_table_lines(
            "year and answer",
            {
                f"{year} {answer}": count
                for year, counts in report["years"].items()
                for answer, count in counts.items()
            },
        ),
        "",
        "## Domains with the most refusals",
        "",
        *_table_lines("domain", report["domains_with_no"]),
        "",
        "## Top domains",
        "",
        *(f"- {name}" for name in summary["top_domains"][:SHOWN_DOMAINS]),
    ]
    return "\n".join(lines)


def _table_lines(title: str, counts: dict[str, int]) -> list[str]:
    rows = [f"| {name} | {count:,} |" for name, count in counts.items()]
    return [f"| {title} | pages |", "| --- | ---: |", *(rows or ["| none | 0 |"])]


def _table(store: Store, table: str, batch: str, columns: list[str]) -> list[dict[str, Any]]:
    if find_manifest(store, table, batch) is None:
        return []
    rows: list[dict[str, Any]] = read_table(store, table, batch, columns).to_pylist()
    return rows


def _links(store: Store, batch: str) -> tuple[dict[str, str], dict[str, str]]:
    """The domain and the year of each page's post."""
    rows = _table(store, "links", batch, ["doc_id", "domain", "created"])
    domains = {row["doc_id"]: row["domain"] for row in rows}
    return domains, {row["doc_id"]: str(row["created"].year) for row in rows}


def _fetch_days(store: Store, batch: str) -> list[str]:
    """The first and the last day of the batch's requests."""
    if find_manifest(store, "pages", batch) is None:
        return []
    bounds = pc.min_max(read_table(store, "pages", batch, ["fetched_at"])["fetched_at"])
    return [each.date().isoformat() for each in bounds.as_py().values() if each is not None]


def _add_sizes(store: Store, batch: str, sizes: Counter[str], words: Counter[str]) -> None:
    """Add a batch's pages, documents, words and tokens, and the words of each domain."""
    pages, tokens = (find_manifest(store, name, batch) for name in ("pages", "tokens"))
    kept = {
        row["doc_id"] for row in _table(store, "verdicts", batch, ["doc_id", "kept"]) if row["kept"]
    }
    has_verdicts = find_manifest(store, "verdicts", batch) is not None
    sizes["pages"] += pages.counts.get("fetched", 0) if pages is not None else 0
    sizes["tokens"] += sum(
        count
        for name, count in (tokens.counts if tokens is not None else {}).items()
        if name.startswith("tokens:")
    )
    for row in _table(store, "documents", batch, ["doc_id", "domain", "num_words"]):
        if has_verdicts and row["doc_id"] not in kept:
            continue
        sizes["documents"] += 1
        sizes["words"] += row["num_words"]
        words[row["domain"]] += row["num_words"]


def _crawler(store: Store, names: list[str]) -> dict[str, Any]:
    """The names of the batches' crawlers, from their WARC files, and the signals they obeyed."""
    obeyed: set[str] = set()
    for batch in names:
        manifest = find_manifest(store, "rights", batch)
        if manifest is not None:
            given = manifest.config.get("fetch_identity", {}).get("rights")
            obeyed.update(given if given is not None else obeyed_signals({}))
    return {"names": crawler_names(store, names), "obeyed": sorted(map(str, obeyed))}


def _top_refusing(by_domain: dict[str, Counter[str]]) -> dict[str, int]:
    totals = {domain: counts.total() for domain, counts in by_domain.items()}
    ranked = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:SHOWN_DOMAINS])


def _share(count: int, share: float) -> int:
    """A share of the domains, at least one."""
    return max(1, round(count * share)) if count else 0
