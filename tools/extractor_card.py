"""The card of a fitted model: purpose, training data and scores, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import xxhash

from tools.extraction_scores import Scores, SnippetScores


def model_card(
    learned: Sequence[dict[str, Any]],
    licences: Mapping[str, str],
    tables: Mapping[str, Mapping[str, tuple[int, Scores]]],
    snippets: SnippetScores,
    arguments: str,
    forests: str,
    day: date,
    content: bytes,
) -> str:
    """The model card in Markdown: purpose, training data, scores."""
    lines = [
        "# Model card: main text of web pages",
        "",
        f"Made on {day.isoformat()} by `python -m tools.fit_extractor {arguments}`; {len(content):,} bytes, xxh3-128 "
        f"`{xxhash.xxh3_128_hexdigest(content)}`. Two forests of gradient-boosted trees ({forests}) "
        "judge blocks of text: is it the page's content?",
        "",
        "Learned from annotations under permissive licences; neither pages nor gold texts are part of the package.",
        "",
        "| source | pages | domains | licence of the annotations |",
        "| --- | --- | --- | --- |",
    ]

    for source, licence in licences.items():
        own = [row for row in learned if row["source"] == source]
        lines.append(
            f"| {source} | {len(own)} | {len({row['domain'] for row in own})} | {licence} |"
        )

    for title, table in tables.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| pages | number | F1 | precision | recall |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {name} | {number} | {own.f1:.3f} | {own.precision:.3f} | {own.recall:.3f} |"
            for name, (number, own) in table.items()
        ]

    lines += [
        "",
        f"Of trafilatura's own test pages (Apache-2.0), which tell only snippets: kept are {snippets}.",
        "",
        "Four-word shingles, precision and recall averaged over pages, F1 of the averages (`tools/extraction_scores.py`). In",
        "cross-validation no registered domain is on both sides. English pages dominate the data;",
        "shops and listings are what the model is worst at.",
        "",
    ]

    return "\n".join(lines)
