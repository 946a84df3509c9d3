"""Summary of a batch beside the previous ones, with a warning for every unusual figure.

Figures come from the manifests; failures by domain from two columns of `pages` and `links`. The
usual range of a figure is its median over the previous batches, up to a factor in both directions;
shares must also differ by more than noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import pyarrow.compute as pc

from corpus.storage.store import Store, table_dir
from corpus.tables.conservation import CUT, FETCHED, KEPT
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import read_file

BATCHES_BEFORE = 6
# Shares moving by less are not news, at any ratio.
LEAST_SHIFT = 0.05
LEAST_COUNT_SHIFT = 20
FEWEST_BEFORE = 3  # fewer batches have no usual range
MOST_DOMAINS = 10
# Links of a domain below which its failures are chance.
LEAST_LINKS = 20
SHARES = ("fetched_share", "kept_share", "duplicate_share", "overlap_share", "usable_share")
TIMED = ("links", "pages", "documents", "signatures", "verdicts", "bands", "tokens")


@dataclass(slots=True)
class Summary:
    """One batch in figures."""

    batch: str
    figures: dict[str, float]
    before: dict[str, float] = field(default_factory=dict)
    """The same of the batch before."""
    failing_domains: dict[str, dict[str, int]] = field(default_factory=dict)
    """Domain to links and failures, those with most failures first."""
    warnings: list[str] = field(default_factory=list)


def summarise(store: Store, batch: str, earlier: Sequence[str], factor: float) -> Summary:
    """The summary of a batch beside those before it, in their order."""
    history = [figures(store, name) for name in earlier[-BATCHES_BEFORE:]]
    now = figures(store, batch)
    failures = domain_failures(store, batch)
    result = Summary(batch, now, history[-1] if history else {})
    worst = sorted(failures.items(), key=lambda item: (-item[1]["failed"], item[0]))
    result.failing_domains = {
        name: counts for name, counts in worst[:MOST_DOMAINS] if counts["failed"]
    }
    result.warnings = unusual(now, history, factor)
    if earlier:
        result.warnings += newly_failing(failures, domain_failures(store, earlier[-1]))

    return result


def figures(store: Store, batch: str) -> dict[str, float]:
    """The figures in a batch's manifests, without those of missing tables."""
    found: dict[str, float] = {}
    manifests = {name: find_manifest(store, name, batch) for name in TIMED}
    links, pages, documents = manifests["links"], manifests["pages"], manifests["documents"]
    verdicts, tokens = manifests["verdicts"], manifests["tokens"]
    if links is not None:
        found["links"] = links.rows
    if pages is not None:
        found["pages"] = pages.counts.get(FETCHED, 0)
        found["fetched_share"] = _share(pages.counts.get(FETCHED, 0), pages.rows)

    if documents is not None:
        found["documents"] = documents.rows
        found["usable_share"] = _share(documents.rows, found.get("pages", 0))

    if verdicts is not None:
        counts = verdicts.counts
        reasons = ("exact_duplicate", "near_duplicate", "contained")
        duplicates = sum(counts.get(reason, 0) for reason in reasons)
        found["kept_share"] = _share(counts.get(KEPT, 0), verdicts.rows)
        found["duplicate_share"] = _share(duplicates, verdicts.rows)
        found["overlap_share"] = _share(
            counts.get("test_overlap", 0) + counts.get(CUT, 0), verdicts.rows
        )

    if tokens is not None:
        found["tokens"] = sum(int(part.metadata["num_tokens"]) for part in tokens.parts)
    found["bytes"] = sum(manifest.bytes for manifest in manifests.values() if manifest is not None)
    found["wall_s"] = sum(
        manifest.wall_s for manifest in manifests.values() if manifest is not None
    )

    return found


def unusual(
    now: Mapping[str, float], history: Sequence[Mapping[str, float]], factor: float
) -> list[str]:
    """A line for every figure outside its usual range; none before the third batch.

    A share has to leave its median by `LEAST_SHIFT`, a count by `LEAST_COUNT_SHIFT`: small corpora,
    and ranges of no width, raise no alarm.
    """
    lines = []
    for name in ("links", "pages", "documents", "tokens", *SHARES):
        before = [each[name] for each in history if name in each]
        if name not in now or len(before) < FEWEST_BEFORE:
            continue
        usual, value = median(before), now[name]
        low, high = usual / factor, usual * factor
        least = LEAST_SHIFT if name in SHARES else LEAST_COUNT_SHIFT
        if not low <= value <= high and abs(value - usual) >= least:
            lines.append(
                f"{name.replace('_', ' ')} {_shown(name, value)}: usual {_shown(name, low)} to {_shown(name, high)} (median of {len(before)} batches {_shown(name, usual)})"
            )

    return lines


def newly_failing(
    now: Mapping[str, Mapping[str, int]], before: Mapping[str, Mapping[str, int]]
) -> list[str]:
    """Domains with a majority of failures, and fewer in earlier batches."""
    lines = []
    for name, counts in sorted(now.items()):
        old = before.get(name, {"links": 0, "failed": 0})
        share = _share(counts["failed"], counts["links"])
        if (
            counts["links"] >= LEAST_LINKS
            and share > 0.5
            and old["links"]
            and _share(old["failed"], old["links"]) < share / 2
        ):
            lines.append(
                f"{name}: {counts['failed']:,} of {counts['links']:,} links failed, {_share(old['failed'], old['links']):.0%} in the batch before"
            )

    return lines


def domain_failures(store: Store, batch: str) -> dict[str, dict[str, int]]:
    """Links and failures of every domain of a batch."""
    links, pages = find_manifest(store, "links", batch), find_manifest(store, "pages", batch)
    if links is None or pages is None:
        return {}

    total: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for left, right in zip(links.parts, pages.parts, strict=True):
        domains = read_file(store, f"{table_dir('links', batch)}/{left.file}", ["doc_id", "domain"])
        rows = read_file(store, f"{table_dir('pages', batch)}/{right.file}", ["doc_id", "reason"])
        lost = rows["doc_id"].filter(pc.is_valid(rows["reason"])).combine_chunks()
        gone = domains["domain"].filter(pc.is_in(domains["doc_id"], lost))
        total.update(
            {
                entry["values"]: entry["counts"]
                for entry in domains["domain"].value_counts().to_pylist()
            }
        )
        failed.update(
            {entry["values"]: entry["counts"] for entry in gone.value_counts().to_pylist()}
        )

    return {name: {"links": count, "failed": failed[name]} for name, count in total.items()}


def render(summary: Summary) -> str:
    """The summary for people."""
    lines = [
        f"batch {summary.batch}"
        + ("" if summary.before else " (the first: nothing to compare it with)")
    ]

    for name, value in summary.figures.items():
        old = summary.before.get(name)
        beside = f"   before {_shown(name, old):>14}" if old is not None else ""
        lines.append(f"  {name.replace('_', ' '):<18}{_shown(name, value):>14}{beside}")

    for name, counts in summary.failing_domains.items():
        lines.append(f"  failed {counts['failed']:>9,} of {counts['links']:>9,}  {name}")
    lines += [f"  warning: {warning}" for warning in summary.warnings]

    return "\n".join(lines)


def to_json(summary: Summary) -> dict[str, Any]:
    """The summary for machines."""
    return asdict(summary)


def _share(part: float, whole: float) -> float:
    return round(part / whole, 6) if whole else 0.0


def _shown(name: str, value: float) -> str:
    return f"{value:.1%}" if name in SHARES else f"{value:,.0f}"
