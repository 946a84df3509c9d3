"""The card of a quality model, as Markdown."""

from __future__ import annotations

from typing import Any

from webtext.quality.fit import NUM_FOLDS, Fitted
from webtext.quality.labels import LEAST_GROUP


def card(name: str, about: dict[str, Any], fitted: Fitted, digest: str) -> str:
    """Origin, measurements and limits of a model."""
    lines = [
        f"# Quality model {name}",
        "",
        f"- Labels: {about['labels']}; {fitted.num_good:,} good and {fitted.num_bad:,} bad texts.",
        "- By votes, good is above the median score of the document's subreddit and month, bad is "
        f"below it; groups of fewer than {LEAST_GROUP} give no label.",
        f"- Model: logistic regression over {len(fitted.model.weights):,} buckets of words and pairs "
        "of words.",
        f"- Measured on {NUM_FOLDS} folds by site: AUC {fitted.auc:.3f} (standard error "
        f"{fitted.auc_error:.3f}; chance is 0.5), Brier score {fitted.brier:.3f} (chance is 0.25).",
        f"- Digest: {digest}",
        "",
        "Calibration on unseen sites:",
        "",
        "| mean quality | share of good ones | texts |",
        "| ---: | ---: | ---: |",
        *(f"| {mean:.3f} | {share:.3f} | {count:,} |" for mean, share, count in fitted.calibration),
        "",
        "Limits: votes reward news, jokes and titles as well as texts, and this model knows words "
        "only. It prefers the topics and the English of those who vote. If it makes a better "
        "model is a question for `webtext ablate`.",
    ]
    return "\n".join(lines)
