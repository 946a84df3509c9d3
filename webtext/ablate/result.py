"""The result of an ablation for people and machines: a table, JSON and an HTML page with curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from webtext.ablate.by_domain import DomainResult
from webtext.ablate.compare import LEVEL, POWER, RESAMPLES, Comparison, compare
from webtext.ablate.runs import Plan, TrainingRun
from webtext.reports.charts import Curve, draw_seeds, escaped, table
from webtext.reports.html import page

# The page says so about an arm that sees its data more often than the first by this factor.
MORE_OFTEN = 1.1


@dataclass(frozen=True)
class ArmResult:
    """The runs of one arm."""

    name: str
    sets: tuple[str, ...]
    bits_per_byte: tuple[float, ...]
    """By seed."""
    curves: tuple[Curve, ...]
    """By seed: tokens seen, and bits per byte."""
    train_tokens: int
    passes: float
    wall_s: float
    against_first: Comparison | None
    """None for the first arm."""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return fmean(self.bits_per_byte)


def results(runs: Sequence[TrainingRun]) -> list[ArmResult]:
    """Results of finished runs by arm, each arm compared with the first."""
    by_arm: dict[str, list[TrainingRun]] = {}
    for run in runs:
        by_arm.setdefault(run.arm.name, []).append(run)

    found: list[ArmResult] = []
    for name, theirs in by_arm.items():
        summaries = [run.summary() or {} for run in theirs]
        values = tuple(float(each["val_bits_per_byte"]) for each in summaries)
        comparison = None
        if found:
            first = found[0].bits_per_byte
            comparison = compare(first, values, num_comparisons=len(by_arm) - 1)

        train_tokens = theirs[0].train_tokens()
        found.append(
            ArmResult(
                name=name,
                sets=theirs[0].arm.sets,
                bits_per_byte=values,
                curves=tuple(run.curve() for run in theirs),
                train_tokens=train_tokens,
                passes=summaries[0]["tokens"] / max(1, train_tokens),
                wall_s=sum(float(each["elapsed_s"]) for each in summaries),
                against_first=comparison,
            )
        )
    return found


def to_json(
    arms: Sequence[ArmResult], plan: Plan, domains: Sequence[DomainResult] = ()
) -> dict[str, Any]:
    """The whole content of the page, as plain values."""
    return {
        "shape": plan.shape,
        "tokens": plan.tokens,
        "seeds": plan.seeds,
        "arms": [
            {
                "name": arm.name,
                "sets": list(arm.sets),
                "bits_per_byte": list(arm.bits_per_byte),
                "mean": arm.mean,
                "train_tokens": arm.train_tokens,
                "passes": arm.passes,
                "wall_s": arm.wall_s,
                "curves": [list(curve) for curve in arm.curves],
                "against_first": arm.against_first.to_json() if arm.against_first else None,
            }
            for arm in arms
        ],
        "domains": [each.to_json() for each in domains],
    }


HEAD = ("arm", "verdict", "bits/byte", "sd", "difference", "paired t", "bootstrap", "p", "passes")


def rows(arms: Sequence[ArmResult]) -> list[tuple[str, ...]]:
    """The rows of the table."""
    return [
        (
            arm.name,
            verdict(arm),
            f"{arm.mean:.4f}",
            f"{stdev(arm.bits_per_byte):.4f}" if len(arm.bits_per_byte) > 1 else "-",
            *_difference(arm.against_first),
            f"{arm.passes:.2f}",
        )
        for arm in arms
    ]


def _difference(found: Comparison | None) -> tuple[str, str, str, str]:
    if found is None:
        return "-", "-", "-", "-"
    p = "-" if found.p is None else f"{found.p:.2g}"
    intervals = (_interval(found.t_interval), _interval(found.bootstrap_interval))
    return f"{found.mean:+.4f}", *intervals, p


def _interval(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}"


def verdict(arm: ArmResult) -> str:
    """The verdict in words, with the seeds it would take."""
    return _verdict(arm.against_first)


def _verdict(found: Comparison | None) -> str:
    if found is None:
        return "compared with"
    if found.verdict != "not enough seeds to tell":
        return found.verdict
    if len(found.differences) < 2:
        return f"{found.verdict}; one seed shows no spread"

    needed = found.seeds_needed
    return f"{found.verdict}; " + (
        "over 1000 would do" if needed is None else f"about {needed} would do"
    )


def render(arms: Sequence[ArmResult], domains: Sequence[DomainResult] = ()) -> str:
    """The tables for a terminal."""
    lines = [*_aligned([HEAD, *rows(arms)]), *notes(arms)]
    if domains:
        lines += ["", *_aligned([DOMAIN_HEAD, *domain_rows(domains)])]
    return "\n".join(lines)


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


DOMAIN_HEAD = ("texts", "arm", "verdict", "bits/byte", "difference", "paired t", "bootstrap", "p")


def domain_rows(domains: Sequence[DomainResult]) -> list[tuple[str, ...]]:
    """The rows of the table by domain."""
    return [
        (
            each.texts,
            each.arm,
            _verdict(each.against_first),
            f"{each.mean:.4f}",
            *_difference(each.against_first),
        )
        for each in domains
    ]


def notes(arms: Sequence[ArmResult]) -> list[str]:
    """Remarks on the fairness of the comparison."""
    first = arms[0]
    return [
        f"{arm.name} saw its data {arm.passes:.2f} times, {first.name} {first.passes:.2f} times: "
        "repetition may explain a difference"
        for arm in arms[1:]
        if max(arm.passes, first.passes) > 1
        and not 1 / MORE_OFTEN <= arm.passes / first.passes <= MORE_OFTEN
    ]


def render_html(
    title: str,
    arms: Sequence[ArmResult],
    plan: Plan,
    num_texts: int,
    domains: Sequence[DomainResult] = (),
) -> str:
    """The page."""
    level = next((a.against_first.level for a in arms if a.against_first), LEVEL)
    method = (
        f"{plan.shape}, {plan.tokens:,} tokens a run, {plan.seeds} seeds. Bits per byte on {num_texts:,} "
        f"held-out texts; lower is better. Differences from {arms[0].name} are paired by seed. "
        f"Intervals of {level:.1%} each: paired t, and bootstrap ({RESAMPLES:,} resamples, expanded "
        "percentiles). A difference is claimed if both leave out 0. Seeds that would do are for a "
        f"power of {POWER:.0%} at the mean and spread seen."
    )

    cost = table(
        ("arm", "settings", "tokens to train on", "seconds"),
        [
            (
                arm.name,
                "; ".join(arm.sets) or "as built",
                f"{arm.train_tokens:,}",
                f"{arm.wall_s:,.0f}",
            )
            for arm in arms
        ],
        words=2,
    )

    by_domain = ""
    if domains:
        shown = table(DOMAIN_HEAD, domain_rows(domains), words=3)
        by_domain = f"<section><h2>By domain</h2>{shown}</section>"

    warnings = "".join(f"<p class=warning>{escaped(note)}.</p>" for note in notes(arms))
    return page(
        title,
        [
            f"<section><h2>Ablation</h2><p>{escaped(method)}</p>{table(HEAD, rows(arms), words=2)}",
            f"{warnings}</section><section><h2>Curves</h2>{draw(arms)}</section>",
            by_domain,
            f"<section><h2>Arms and cost</h2>{cost}</section>",
        ],
    )


def draw(arms: Sequence[ArmResult]) -> str:
    """The curves of all arms."""
    return draw_seeds((arm.name, arm.curves) for arm in arms)
