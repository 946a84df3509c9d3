"""Fits the learned extractor: `python -m tools.fit_extractor --data DIR --data DIR` (`fit` extra).

DIR holds archives (`gold_NAME.jsonl.zst` and `pages_NAME.tar.zst`): one line per page with `id`,
`source`, `domain`, `kind` and `text`, and the pages under the names in `file`. Only the sources in
`TRAINED_ON` are used for training: the licences of their annotations allow it. All sources with
gold text are scored. Pages of the kind `segments` list snippets that belong in the text (`with`)
and snippets that do not (`without`); they are checked. Pages with a `doubt` are left out.

Two forests are fitted. The first judges blocks by their features. The second judges them by the
same features and the first model's probabilities for the blocks around
(`clean.learned.context`); it is trained on probabilities of pages unseen by the first.

Scores come from cross-validation in which no registered domain is on both sides. The thresholds of
`clean.learned.extraction` were chosen on one half of the domains (`--thresholds` prints their
scores there) and are reported on the other. The written model is fitted on everything. Every draw
is seeded, and LightGBM runs in its deterministic mode, so the same data gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np

from clean import learned
from clean.learned import context, trees
from clean.learned.blocks import PageBlocks, blocks
from clean.learned.extraction import (
    BETA,
    MODEL_FILE,
    VAGUE,
    Use,
    chance_of,
    chances,
    extracted,
)
from clean.learned.features import NAMES
from clean.learned.layout import WORDS
from clean.learned.trees import Forest, Model
from clean.rewrite import rewritten
from tools.annotated_pages import (
    GOLD_FILE,
    PAGES_FILE,
    Sample,
    archives,
    labels,
    read_pages,
    sample,
)
from tools.extraction_scores import PageScores, Scores, average, page_scores, snippet_scores
from tools.extractor_card import model_card

__all__ = ["GOLD_FILE", "PAGES_FILE", "labels", "main", "read_pages", "sample"]

log = logging.getLogger(__name__)

PACKAGE: Final = Path(learned.__file__).parent
TOOLS: Final = Path(__file__).parent
CARD_FILE: Final = "MODEL_CARD.md"
# Precision and recall of every training page, by a model that had not seen its domain.
CROSSED_FILE: Final = "crossvalidation.json"

# Sources with permissively licensed annotations, and their licences.
TRAINED_ON: Final = {
    "wcxb": "CC BY 4.0",
    "aeb": "MIT",
    "ae424": "Apache-2.0",
    "forum52": "Apache-2.0",
    "fundus": "MIT",
    "defuddle": "MIT",
    "np157": "Apache-2.0",
    "readability": "Apache-2.0",
    "labels": "own",  # `webtext look --export-labels`
}
# Kinds of gold that hold the whole text of a page, checked by people or by maintainers.
TEXT_KINDS: Final = ("full", "silver")
NUM_FOLDS: Final = 5
NUM_INNER_FOLDS: Final = 2
# A block of more words weighs no more than one of so many: its words are not independent.
FULL_WORDS: Final = 60
PARAMETERS: Final = {
    "objective": "cross_entropy",  # takes shares as labels
    "learning_rate": 0.05,
    "num_leaves": 24,
    "max_depth": 8,
    "min_data_in_leaf": 100,
    "lambda_l2": 1.0,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "max_bin": 63,
    "use_missing": False,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}
# Settings of `balanced` that `--thresholds` compares.
THRESHOLD_BETAS: Final = (0.65, 0.8, 1.0)
THRESHOLD_CHANCES: Final = (0.35, 0.4, 0.5)
# Trees of the first and of the second forest.
ROUNDS: Final = (130, 160)


def weights(item: Sample) -> np.ndarray:
    """Training weights of a page's blocks: their words, with long pages scaled down."""
    words = item.page.counts[:, WORDS].astype(np.float64)
    return (np.minimum(words, FULL_WORDS) + 0.5) / np.sqrt(max(1.0, words.sum()))


def dataset(samples: Sequence[Sample], rows: Sequence[np.ndarray]) -> lightgbm.Dataset:
    """The samples' blocks as LightGBM learns from them; features are put into bins once, here."""
    weight = np.concatenate([weights(item) for item in samples])
    return lightgbm.Dataset(
        np.vstack(rows),
        np.concatenate([item.labels for item in samples]),
        weight=weight * (weight.size / weight.sum()),
        params=PARAMETERS,
    )


def fit_forest(data: lightgbm.Dataset, rounds: int, seed: int) -> Forest:
    """Fit a forest that predicts the labels of blocks from their rows."""
    booster = lightgbm.train(PARAMETERS | {"seed": seed}, data, rounds)
    return forest_of(booster.dump_model()["tree_info"])


def forest_of(tree_info: Iterable[dict[str, Any]]) -> Forest:
    """The trees of a LightGBM model as arrays."""
    roots: list[int] = []
    depths: list[int] = []
    nodes: list[tuple[int, float, int, int, float]] = []  # feature, threshold, children, value

    def add(tree: dict[str, Any]) -> tuple[int, int]:
        """(the number of a node, steps from it to the farthest leaf)"""
        number = len(nodes)
        if "leaf_value" in tree:
            nodes.append((0, np.inf, number, number, tree["leaf_value"]))
            return number, 0

        nodes.append((0, 0.0, 0, 0, 0.0))
        left, left_depth = add(tree["left_child"])
        right, right_depth = add(tree["right_child"])
        nodes[number] = (tree["split_feature"], tree["threshold"], left, right, 0.0)

        return number, 1 + max(left_depth, right_depth)

    for info in tree_info:
        root, depth = add(info["tree_structure"])
        roots.append(root)
        depths.append(depth)

    table = np.array(nodes, np.float64)
    return Forest(
        np.array(roots, np.int32),
        np.array(depths, np.int32),
        table[:, 0].astype(np.int16),
        trees.round_down(table[:, 1]),
        np.ascontiguousarray(table[:, 2:4].astype(np.int32)),
        table[:, 4].astype(np.float32),
    )


def folds(samples: Sequence[Sample], count: int, seed: int) -> np.ndarray:
    """The fold of every sample. All pages of a registered domain are in one fold."""
    domains = sorted({item.gold["domain"] for item in samples})
    order = np.random.default_rng(seed).permutation(len(domains))
    fold = {domains[place]: number % count for number, place in enumerate(order)}
    return np.array([fold[item.gold["domain"]] for item in samples])


def fit_model(samples: Sequence[Sample], seed: int) -> Model:
    """Fit both forests.

    The second learns from probabilities of first models that were fitted on other domains.
    """
    fold = folds(samples, NUM_INNER_FOLDS, seed + 1)
    fold_of_block = np.repeat(fold, [len(item.labels) for item in samples])
    data = dataset(samples, [item.rows for item in samples])
    first = fit_forest(data, ROUNDS[0], seed)
    rows: list[np.ndarray] = [np.empty(0)] * len(samples)

    for number in range(NUM_INNER_FOLDS):
        inner = fit_forest(
            data.subset(np.flatnonzero(fold_of_block != number).tolist()), ROUNDS[0], seed
        )
        for index in np.flatnonzero(fold == number).tolist():
            item = samples[index]
            chance = chance_of(trees.scores(inner, item.rows))
            rows[index] = np.hstack([item.rows, context.context(item.page, chance)])

    second = fit_forest(dataset(samples, rows), ROUNDS[1], seed)
    return Model((first, second), NAMES + context.NAMES)


def cross_validate(
    samples: Sequence[Sample], seed: int, count: int = 0, jobs: int = 1
) -> list[np.ndarray]:
    """Probabilities for every sample's blocks, by a model that has seen no page of its domain."""
    count = count or NUM_FOLDS
    fold = folds(samples, count, seed)
    found: list[np.ndarray] = [np.empty(0)] * len(samples)

    # Children inherit the samples, which are too large to send.
    global _shared_samples
    _shared_samples = samples
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        judged = pool.map(_judge_fold, [(fold, number, seed) for number in range(count)])
        for number, chances_of in enumerate(judged):
            for index, own in zip(np.flatnonzero(fold == number).tolist(), chances_of, strict=True):
                found[index] = own
            log.info("fold %d of %d done", number + 1, count)

    return found


_shared_samples: Sequence[Sample] = ()


def _judge_fold(task: tuple[np.ndarray, int, int]) -> list[np.ndarray]:
    """Probabilities for the samples of a fold, by a model fitted on the others."""
    fold, number, seed = task
    samples = _shared_samples
    judge = chances(fit_model([samples[i] for i in np.flatnonzero(fold != number)], seed))
    return [judge(samples[i].page) for i in np.flatnonzero(fold == number)]


def scored(samples: Sequence[Sample], found: Sequence[np.ndarray], use: Use) -> list[PageScores]:
    """The scores of every page by itself."""
    return [
        page_scores(item.gold["text"], extracted(item.page, chance, use))
        for item, chance in zip(samples, found, strict=True)
    ]


def score_table(
    samples: Sequence[Sample], pages: Sequence[PageScores]
) -> dict[str, tuple[int, Scores]]:
    """Pages and scores by source, and by page type where a source tells it."""
    groups: dict[str, list[PageScores]] = defaultdict(list)
    for item, page in zip(samples, pages, strict=True):
        groups[item.gold["source"]].append(page)
        if kind := item.gold.get("page_type"):
            groups[f"{item.gold['source']} {kind}"].append(page)

    return {name: (len(own), average(own)) for name, own in sorted(groups.items())}


def threshold_scores(
    samples: Sequence[Sample], found: Sequence[np.ndarray]
) -> list[tuple[tuple[float, float, float], float]]:
    """Combinations of (beta, both least probabilities) and their mean F1 over sources, best first."""
    before = BETA[Use.BALANCED], VAGUE[Use.BALANCED]
    results = []
    try:
        for beta in THRESHOLD_BETAS:
            for vague in THRESHOLD_CHANCES:
                for least in THRESHOLD_CHANCES:
                    BETA[Use.BALANCED], VAGUE[Use.BALANCED] = beta, (vague, least)
                    table = score_table(samples, scored(samples, found, Use.BALANCED))
                    means = [own.f1 for name, (_, own) in table.items() if " " not in name]
                    results.append(((beta, vague, least), float(np.mean(means))))
    finally:
        BETA[Use.BALANCED], VAGUE[Use.BALANCED] = before

    return sorted(results, key=lambda result: -result[1])


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, score, and write the model with its card."""
    args = _arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    samples, checks = _read(args.data)

    known = [item for item in samples if item.gold["source"] in TRAINED_ON]
    domains = {item.gold["domain"] for item in known}
    unseen = [
        item
        for item in samples
        if item.gold["source"] not in TRAINED_ON and item.gold["domain"] not in domains
    ]
    log.info("%d pages to learn from, %d others", len(known), len(unseen))

    found = cross_validate(known, args.seed, jobs=args.jobs)
    half = folds(known, 2, args.seed + 2)
    chosen_on, reported_on = (np.flatnonzero(half == number).tolist() for number in (0, 1))
    if args.thresholds:
        for setting, score in threshold_scores(
            [known[i] for i in chosen_on], [found[i] for i in chosen_on]
        ):
            print(f"beta {setting[0]}, least {setting[1:]}: {score:.4f}")
        return 0

    model = fit_model(known, args.seed)
    judge = chances(model)
    fresh = scored(unseen, [judge(item.page) for item in unseen], Use.BALANCED)
    snippets = snippet_scores(
        (row["with"], row["without"], extracted(page, judge(page), Use.BALANCED))
        for row, page in checks
        if row["domain"] not in domains
    )

    crossed = {use: scored(known, found, use) for use in Use}
    tables = {
        f"Cross-validated, `{use}`": score_table(known, pages) for use, pages in crossed.items()
    }
    balanced = crossed[Use.BALANCED]
    tables["The half of the domains that thresholds were not chosen on, `balanced`"] = score_table(
        [known[i] for i in reported_on], [balanced[i] for i in reported_on]
    )
    tables["Sources that nothing was learned from, `balanced`"] = score_table(unseen, fresh)

    content = trees.save(model)
    card = model_card(
        [item.gold for item in known],
        TRAINED_ON,
        tables,
        snippets,
        f"--seed {args.seed}",
        f"LightGBM {lightgbm.__version__}, {ROUNDS[0]} and {ROUNDS[1]} trees",
        args.day or date.today(),
        content,
    )
    out = args.out or PACKAGE
    out.mkdir(parents=True, exist_ok=True)
    (out / MODEL_FILE).write_bytes(content)
    (out / CARD_FILE).write_text(card, "utf-8")
    by_page = {
        item.gold["id"]: [None if share is None else round(share, 4) for share in page]
        for item, page in zip(known, balanced, strict=True)
    }
    (args.out or TOOLS).joinpath(CROSSED_FILE).write_text(_one_line_each(by_page), "utf-8")
    print(card)

    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.fit_extractor", description="Fit the learned extractor."
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        action="append",
        help="folder of annotated pages; may be given several times",
    )
    parser.add_argument(
        "--out", type=Path, help="where model, card and scores go (default: where they are used)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of every draw (default: 1)")
    parser.add_argument(
        "--day", type=date.fromisoformat, default=None, help="the card's date (default: today)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="folds fitted at once (default: 1)")
    parser.add_argument(
        "--thresholds", action="store_true", help="print scores of thresholds and write nothing"
    )
    args = parser.parse_args(argv)

    for folder in args.data:
        if not archives(folder):
            raise SystemExit(
                f"{folder} has no {GOLD_FILE} and {PAGES_FILE}; name the folder that holds both"
            )

    return args


def _read(
    folders: Sequence[Path],
) -> tuple[list[Sample], list[tuple[dict[str, Any], PageBlocks]]]:
    """(pages with a gold text, pages with snippets)"""
    samples: list[Sample] = []
    checks: list[tuple[dict[str, Any], PageBlocks]] = []
    for folder in folders:
        for row, html in read_pages(folder):
            if row["kind"] in TEXT_KINDS and row["text"] and not row.get("doubt"):
                samples.append(sample(row, html))
            elif row["kind"] == "segments":
                checks.append((row, blocks(rewritten(html).encode("utf-8", "replace"))))

    return samples, checks


def _one_line_each(scores: dict[str, Any]) -> str:
    """JSON with a line per page, so that changes can be read."""
    lines = (f"{json.dumps(name)}: {json.dumps(own)}" for name, own in sorted(scores.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    raise SystemExit(main())
