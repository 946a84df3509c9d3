"""The documents of a batch in the report: languages, lengths, dropped examples, and settings."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import numpy as np
import pyarrow.compute as pc

from corpus.storage.store import Store
from corpus.tables.manifest import Manifest, find_manifest
from corpus.tables.parquet import find_row, iter_tables, part_paths
from webtext.inspection.why import dropped_examples
from webtext.reports import charts
from webtext.reports.charts import escaped

# Upper edges of the classes of length, in words; the last class has no end.
WORD_EDGES = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000)
MOST_LANGUAGES = 8
EXAMPLES = 2
KEPT_EXAMPLES = 3
KEPT_CHARS = 600
URL_CHARS = 90


def section(store: Store, batch: str) -> str:
    """HTML of a batch with committed documents; empty otherwise."""
    manifest = find_manifest(store, "documents", batch)
    if manifest is None:
        return ""
    languages, lengths = _count(store, batch)
    return "".join(
        [
            _lengths(lengths),
            _languages(languages),
            _examples(store, batch),
            _kept(store, batch),
            _settings(store, batch, manifest),
        ]
    )


def _count(store: Store, batch: str) -> tuple[Counter[str], np.ndarray]:
    """Documents by language and by class of length. The latter has shape (len(WORD_EDGES) + 1,)."""
    languages: Counter[str] = Counter()
    lengths = np.zeros(len(WORD_EDGES) + 1, np.int64)
    for path in part_paths(store, "documents", batch):
        for piece in iter_tables(store, path, ["language", "num_words"]):
            for each in pc.value_counts(piece["language"]).to_pylist():
                languages[each["values"]] += each["counts"]
            classes = np.searchsorted(WORD_EDGES, piece["num_words"].to_numpy(), "right")
            lengths += np.bincount(classes, minlength=len(lengths))
    return languages, lengths


def _lengths(lengths: np.ndarray) -> str:
    names = [f"under {WORD_EDGES[0]:,}"]
    names += [f"{low:,} to {high - 1:,}" for low, high in itertools.pairwise(WORD_EDGES)]
    names.append(f"{WORD_EDGES[-1]:,} and more")
    most = max(int(lengths.max()), 1)
    rows = "".join(
        f"<tr><th>{name}</th><td class=n>{count:,}</td><td class=w>{charts.bar(count, most)}</td></tr>"
        for name, count in zip(names, lengths.tolist(), strict=True)
    )
    return f"<h3>Words of a document</h3><table class=bars>{rows}</table>"


def _languages(languages: Counter[str]) -> str:
    most = ", ".join(
        f"{escaped(name)} <b>{count:,}</b>" for name, count in languages.most_common(MOST_LANGUAGES)
    )
    return f"<p>Languages: {most or 'none'}.</p>"


def _examples(store: Store, batch: str) -> str:
    """Dropped pages of each reason: the first by id, a random sample."""
    if find_manifest(store, "documents_dropped", batch) is None:
        return ""
    counts, examples = dropped_examples(store, batch, limit=EXAMPLES)
    rows = [
        (reason.replace("_", " "), row["url"][:URL_CHARS], row["detail"] or "")
        for reason in counts
        for row in examples[reason]
    ]
    if not rows:
        return ""
    shown = charts.table(("reason", "page", "detail"), rows, words=3)
    return f"<details><summary>Dropped pages: examples of each reason</summary>{shown}</details>"


def _kept(store: Store, batch: str) -> str:
    """The beginnings of some kept pages: the first by id, a random sample."""
    verdicts, documents = (find_manifest(store, name, batch) for name in ("verdicts", "documents"))
    if verdicts is None or documents is None:
        return ""

    shown = []
    for doc_id in _kept_ids(store, batch):
        row = find_row(store, "documents", documents, doc_id)
        if row is not None:
            text = " ".join(row["text"][:KEPT_CHARS].split())
            shown.append(
                f"<p class=r>{escaped(row['url'][:URL_CHARS])}</p><pre>{escaped(text)}</pre>"
            )
    return f"<h3>Kept, for example</h3>{''.join(shown)}" if shown else ""


def _kept_ids(store: Store, batch: str) -> list[str]:
    for path in part_paths(store, "verdicts", batch):
        for piece in iter_tables(store, path, ["doc_id", "kept"]):
            found: list[str] = piece.filter(piece["kept"])["doc_id"][:KEPT_EXAMPLES].to_pylist()
            if found:
                return found
    return []


def _settings(store: Store, batch: str, documents: Manifest) -> str:
    found = {"clean": documents.config}
    for stage, table in (("crawl", "links"), ("dedup", "verdicts"), ("shards", "tokens")):
        manifest = find_manifest(store, table, batch)
        if manifest is not None:
            found[stage] = manifest.config
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False)
    return f"<details><summary>Settings</summary><pre>{escaped(text)}</pre></details>"
