"""The data card: a README with the hub's metadata, every figure of it from `Facts`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from corpus.markdown import front_matter, markdown_table
from corpus.printable import printable
from webtext.publish.documents import MEANING
from webtext.publish.facts import FUNNEL, MOST_DOMAINS, Facts
from webtext.publish.files import Written

MOST_REASONS = 12
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGER = ((10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B"))


def card(facts: Facts, written: Written, *, title: str, license_name: str, contact: str) -> str:
    """The whole README.md."""
    sections = [
        _metadata(facts, written, title, license_name),
        f"# {title}",
        _introduction(facts),
        "## Contents\n\n" + _contents(facts, written),
        "## How it was made\n\n" + _funnel(facts),
        "## Sources\n\n" + _sources(facts),
        "## Duplicates and test sets\n\n" + _overlap(facts),
        "## Rights and take-downs\n\n" + _rights(facts, contact),
        "## Known limits\n\n" + _limits(facts),
        "## Reproduce\n\n" + _reproduce(facts),
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(facts: Facts, written: Written, title: str, license_name: str) -> str:
    configs: dict[str, list[str]] = {}
    for config, split in written.rows:
        configs.setdefault(config, []).append(split)
    languages = [name for name, _ in facts.languages.most_common() if name and len(name) in (2, 3)]
    record = {
        "pretty_name": title,
        "license": license_name,
        "language": languages,
        "task_categories": ["text-generation"],
        "size_categories": [_size(facts.documents)],
        "tags": ["webtext"],
        "configs": [
            {
                "config_name": config,
                **({"default": True} if config == "documents" else {}),
                "data_files": [
                    {"split": split, "path": f"data/{config}/{split}-*.parquet"} for split in splits
                ],
            }
            for config, splits in configs.items()
        ],
    }
    return front_matter(record)


def _size(documents: int) -> str:
    for limit, name in (*SIZES, *LARGER):
        if documents < limit:
            return name
    return "n>1B"


def _introduction(facts: Facts) -> str:
    first, last = facts.batches[0], facts.batches[-1]
    months = first if first == last else f"{first} to {last}"
    return (
        "Web pages that Reddit posts link to and readers voted for, after the recipe of WebText "
        '("Language Models are Unsupervised Multitask Learners"): fetched, extracted, filtered, '
        "without near-duplicates and without passages of the test sets named below. "
        f"Snapshot `{facts.snapshot.name}`, batches {months}: {facts.documents:,} documents, "
        f"{facts.tokens:,} tokens, {facts.num_bytes:,} bytes of text."
    )


def _contents(facts: Facts, written: Written) -> str:
    rows = [
        (config, split, f"{count:,}", f"{written.bytes[config, split]:,}")
        for (config, split), count in written.rows.items()
    ]
    use = "\n".join(
        [
            "```python",
            "from datasets import load_dataset",
            "",
            'documents = load_dataset("PATH", "documents", split="train", streaming=True)',
            "```",
        ]
    )
    columns = markdown_table(
        ("column of `documents`", "meaning"), [(f"`{name}`", MEANING[name]) for name in MEANING]
    )
    return (
        f"{markdown_table(('configuration', 'split', 'rows', 'bytes'), rows)}\n\n{use}\n\n{columns}"
    )


def _funnel(facts: Facts) -> str:
    parts = []
    for table in FUNNEL:
        found = [tables[table] for tables in facts.manifests.values() if table in tables]
        counts: dict[str, int] = {}
        for manifest in found:
            for reason, count in manifest.counts.items():
                if ":" not in reason:
                    counts[reason] = counts.get(reason, 0) + count
        most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        reasons = ", ".join(f"{name} {count:,}" for name, count in most[:MOST_REASONS])
        parts.append((f"`{table}`", f"{sum(each.rows for each in found):,}", reasons))
    return markdown_table(("table", "rows", "rows by disposition"), parts)


def _sources(facts: Facts) -> str:
    rows = [
        (printable(domain or ""), f"{count:,}", f"{count / max(1, facts.documents):.2%}")
        # A page without a row in `documents` has no domain.
        for domain, count in sorted(
            facts.domains.items(), key=lambda item: (-item[1], item[0] or "")
        )
    ]
    scores = ", ".join(f"{value:,.0f}" for value in facts.score_quantiles)
    lines = [
        f"Fetched from {facts.first_date or 'an unknown time'} to {facts.last_date or 'an unknown time'}; "
        f"{len(facts.domains):,} domains. Votes of a document at the quantiles .05, .25, .5, .75, .95: {scores}.",
        markdown_table(("domain", "documents", "share"), rows[:MOST_DOMAINS]),
        "Languages: "
        + _counts(facts.languages)
        + ". Extractors: "
        + _counts(facts.extractors)
        + ".",
    ]
    return "\n\n".join(lines)


def _overlap(facts: Facts) -> str:
    removed = sum(
        count
        for tables in facts.manifests.values()
        if "verdicts" in tables
        for reason, count in tables["verdicts"].counts.items()
        if reason in ("exact_duplicate", "near_duplicate", "contained")
    )
    lines = [
        f"{removed:,} pages were removed as duplicates; {facts.copied_documents:,} documents here had copies. "
        f"{facts.cut_documents:,} documents have passages cut out."
    ]
    if not facts.overlap:
        lines.append("No test sets were named: **overlap with test sets was not removed**.")
        return "\n\n".join(lines)

    rows = [
        (
            row.testset,
            str(row.n),
            f"{row.ngrams:,}",
            _percent(row.share_so_far),
            _percent(row.share_left_so_far),
        )
        for row in facts.overlap
    ]
    header = ("test set", "n", "n-grams", "found before removal", "left")
    lines.append(markdown_table(header, rows))
    return "\n\n".join(lines)


def _rights(facts: Facts, contact: str) -> str:
    asked = {name: count for name, count in facts.rights.items() if name is not None}
    opted = sum(
        count
        for tables in facts.manifests.values()
        for manifest in tables.values()
        for reason, count in manifest.counts.items()
        if reason == "training_opt_out"
    )
    said = _counts(asked) if asked else "not asked"
    return (
        f"Signals of sites and pages about training, by document: {said}. "
        f"{opted:,} pages were left out because they opted out of training.\n\n"
        "The texts belong to their authors; this publication grants no rights in them. "
        f"To have a page removed, write to {contact} with its address: it leaves this data set with the next revision."
    )


def _limits(facts: Facts) -> str:
    lines = [f"- The snapshot {remark}." for remark in facts.remarks]
    languages = len([name for name in facts.languages if name])
    lines += [
        f"- Text is what the extractors kept ({_counts(facts.extractors)}): pages can lose passages or keep menus.",
        f"- Votes of Reddit's readers choose the pages, so their interests and prejudices do as well; {languages} language{'s' * (languages != 1)}.",
        "- Pages contain statements that are wrong, offensive or personal. Only exact settings below say what was filtered.",
    ]
    return "\n".join(lines)


def _reproduce(facts: Facts) -> str:
    rows = [
        (batch, table, manifest.fingerprint, manifest.code_version, manifest.created)
        for batch, tables in facts.manifests.items()
        for table, manifest in tables.items()
    ]

    settings = {
        table: manifest.config for table, manifest in facts.manifests[facts.batches[-1]].items()
    }
    dumps = sorted(
        {
            (each.batch, each.table, each.fingerprint)
            for tables in facts.manifests.values()
            if "links" in tables
            for each in tables["links"].inputs
        }
    )

    lines = [
        f"Snapshot digest `{facts.snapshot.digest}`, tokenizer `{facts.snapshot.tokenizer_fingerprint}`. "
        "The same dumps, settings and version give the same bytes.",
        markdown_table(("batch", "table", "fingerprint", "version", "made"), rows),
    ]
    if dumps:
        lines.append(markdown_table(("input", "kind", "fingerprint"), dumps))
    lines.append(
        f"Settings of batch {facts.batches[-1]}:\n\n```json\n{json.dumps(settings, indent=1, sort_keys=True)}\n```"
    )
    return "\n\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    return ", ".join(f"{name or 'unknown'} {count:,}" for name, count in ordered) or "none"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
