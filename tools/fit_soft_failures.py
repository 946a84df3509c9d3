"""Fits the judge of soft failures: `python -m tools.fit_soft_failures --data DIR`.

DIR holds the folders `softfail`, `extraction` and `extraction2` of labelled pages. A family is one
template or one registered domain, and no family is on both sides of the report: the model of one
half judges the other half. The model that is written is fitted on everything.

Short genuine pages are rare in the data, so cuttings of genuine texts are added, among them those
with the most phrases of the lexicon. Pages that are labelled genuine and are none are left out.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import zlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch

from bench.clean.soft_failure_material import Labelled, genuine_pages, labelled_pages
from clean import soft_failures
from clean.soft_failures.config import SoftFailuresConfig
from clean.soft_failures.features import NAMES, features, findings
from clean.soft_failures.judge import JudgedPage
from clean.soft_failures.lexicon import lexicon
from clean.soft_failures.model import MODEL_FILE
from clean.soft_failures.sheet import MAIN, sheet

log = logging.getLogger(__name__)

PACKAGE: Final = Path(soft_failures.__file__).parent
L2: Final = 0.003
CUTTING_WEIGHT: Final = 0.5
CUTTING_WORDS: Final = (50, 180)
MAX_STEPS: Final = 300
MIN_DOCUMENT_WORDS: Final = 50


class Row(NamedTuple):
    """A page for the fit."""

    id: str
    features: np.ndarray
    failure: bool
    family: str
    weight: float
    main_words: float


def main(argv: Sequence[str] | None = None) -> int:
    """Fits, reports, and writes the model into the package."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", required=True, type=Path)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    pages = [*labelled_pages(args.data), *genuine_pages(args.data)]
    rows = rows_of(pages)
    _report(rows)
    weights, bias = fit(rows)

    model = {
        "bias": round(bias, 4),
        "weights": {name: round(float(w), 4) for name, w in zip(NAMES, weights, strict=True)},
    }
    path = PACKAGE / MODEL_FILE
    path.write_text(json.dumps(model, indent=1) + "\n")
    log.info("wrote %s", path)
    return 0


def rows_of(pages: Sequence[Labelled]) -> list[Row]:
    """Rows of pages and of cuttings of the genuine ones."""
    rows = [_row(page, page.page(), 1.0) for page in pages]
    cut = cuttings(pages, random.Random(5))
    return rows + [_row(page, each, CUTTING_WEIGHT) for page, each in cut]


def cuttings(pages: Sequence[Labelled], draw: random.Random) -> list[tuple[Labelled, JudgedPage]]:
    """Short pages made of a part of a genuine text under its title."""
    made = []
    for page in pages:
        words = page.gold.split()
        if page.failure or len(words) < 70 or draw.random() < 0.4:
            continue
        size = draw.randrange(*CUTTING_WORDS)
        start = 0 if draw.random() < 0.5 else draw.randrange(max(1, len(words) - size))
        part = words[start : start + size]
        step = max(1, len(part) // draw.randrange(1, 4))
        paragraphs = [" ".join(part[at : at + step]) for at in range(0, len(part), step)]
        title = escape((page.title or " ".join(words[:6]))[:100])
        links = "<a href=/>Home</a> <a href=/about>About</a> <a href=/login>Log in</a>"
        html = (
            f"<title>{title}</title><body>{links if draw.random() < 0.4 else ''}<h1>{title}</h1>"
            + "".join(f"<p>{escape(each)}</p>" for each in paragraphs)
        )
        made.append((page, page.page(html)))

    return made


def fit(rows: Sequence[Row]) -> tuple[np.ndarray, float]:
    """Weights and constant of a logistic regression, on features as they are."""
    torch.manual_seed(0)
    matrix = np.stack([row.features for row in rows])
    mean, scale = matrix.mean(0), matrix.std(0) + 1e-3
    inputs = torch.tensor((matrix - mean) / scale, dtype=torch.float64)
    labels = torch.tensor([float(row.failure) for row in rows], dtype=torch.float64)
    importance = torch.tensor([row.weight for row in rows], dtype=torch.float64)
    weights = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=MAX_STEPS, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            inputs @ weights + bias, labels, weight=importance, reduction="mean"
        )
        loss = loss + L2 * (weights * weights).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    plain = weights.detach().numpy() / scale
    return plain, float(bias.detach()) - float(plain @ mean)


def _row(page: Labelled, cut: JudgedPage, weight: float) -> Row:
    paper = sheet(cut.blocks, cut.html, cut.title, dict(cut.marks), cut.main_words)
    found = findings(paper, lexicon())
    return Row(
        page.id,
        features(paper, found),
        page.failure,
        page.family,
        weight,
        float(paper.counts[MAIN]),
    )


def _report(rows: Sequence[Row]) -> None:
    """Logs errors of the model of one half of the families on the other half."""
    halves = np.array([zlib.crc32(row.family.encode()) % 2 for row in rows])
    scores = np.zeros(len(rows))
    matrix = np.stack([row.features for row in rows])
    for half in (0, 1):
        weights, bias = fit([row for row, of in zip(rows, halves, strict=True) if of != half])
        scores[halves == half] = matrix[halves == half] @ weights + bias

    failure = np.array([row.failure for row in rows])
    document = np.array([row.main_words >= MIN_DOCUMENT_WORDS for row in rows])
    real = np.array([row.weight == 1.0 for row in rows])
    lost = scores > SoftFailuresConfig().threshold
    for name, chosen in (("pages", real), ("cuttings", ~real)):
        genuine = chosen & ~failure & document
        log.info("%s lost: %d of %d", name, int((lost & genuine).sum()), int(genuine.sum()))
    log.info("failures found by the model alone: %.3f", float(lost[failure].mean()))


if __name__ == "__main__":
    raise SystemExit(main())
