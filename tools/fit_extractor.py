"""Fits the learned extractor: `python -m tools.fit_extractor --data DIR` (needs the `fit` extra).

DIR holds `gold_dev.jsonl.zst` and `pages_dev.tar.zst`: one line per page with `id`, `source`,
`domain`, `kind` and `text`, and the pages under the names in `file`. Only the sources in
`TRAINED_ON` are used for training: their licences allow it (CC BY 4.0, MIT). All sources with gold
text are scored. Pages of the kind `segments` list snippets that belong in the text (`with`) and
snippets that do not (`without`); they are checked.

Two forests are fitted. The first judges blocks by their features. The second judges them by the
same features and the first model's probabilities for the blocks around
(`clean.learned.context`); it is trained on probabilities of pages unseen by the first.

A block's label is the share of its four-word runs found in the gold text. A block of fewer words
would be found anywhere; it is content if the gold text has it next to its neighbour on the page.
Scores come from cross-validation in which no registered domain is on both sides. The written model
is then fitted on everything. Every draw is seeded, and LightGBM runs in its deterministic mode.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from html import unescape
from pathlib import Path
from typing import Any, Final, NamedTuple

import lightgbm
import numpy as np
import xxhash
import zstandard

from clean import learned
from clean.decode import decode
from clean.learned import context, trees
from clean.learned.blocks import PageBlocks, blocks
from clean.learned.extraction import MODEL_FILE, Use, chance_of, chances, extracted
from clean.learned.features import NAMES, features
from clean.learned.layout import END, START, WORDS
from clean.learned.trees import Forest, Model
from clean.rewrite import rewritten
from tools.extraction_scores import (
    PageScores,
    Scores,
    SnippetScores,
    average,
    page_scores,
    snippet_scores,
)

log = logging.getLogger(__name__)

GOLD_FILE: Final = "gold_dev.jsonl.zst"
PAGES_FILE: Final = "pages_dev.tar.zst"
PACKAGE: Final = Path(learned.__file__).parent
CARD_FILE: Final = "MODEL_CARD.md"
# Precision and recall of every training page, by a model that had not seen its domain.
CROSSED_FILE: Final = "crossvalidation.json"

TRAINED_ON: Final = {"wcxb": "CC BY 4.0", "aeb": "MIT"}
SHINGLE: Final = 4
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
# Trees of the first and of the second forest.
ROUNDS: Final = (100, 120)
_WORD = re.compile(r"\w+")


class Sample(NamedTuple):
    """An annotated page: features, and per block a label in 0..1 and a number of words."""

    gold: dict[str, Any]
    page: PageBlocks
    rows: np.ndarray
    labels: np.ndarray


def read_pages(folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """(annotation, HTML) of every page in the archives."""
    with zstandard.open(folder / GOLD_FILE, "rt", encoding="utf-8") as lines:
        gold = {(row := json.loads(line))["file"].removesuffix(".gz"): row for line in lines}
    with (
        open(folder / PAGES_FILE, "rb") as raw,
        zstandard.ZstdDecompressor().stream_reader(raw) as stream,
        tarfile.open(fileobj=io.BufferedReader(stream), mode="r|") as archive,
    ):
        for member in archive:
            row = gold.get(member.name.removeprefix("./").removesuffix(".gz"))
            content = archive.extractfile(member)
            if row is not None and content is not None:
                yield row, decode(content.read()).text


def sample(gold: dict[str, Any], html: str) -> Sample:
    """Features and labels of a page with gold text."""
    page = blocks(rewritten(html).encode("utf-8", "replace"))
    return Sample(gold, page, features(page), labels(block_words(page), gold["text"] or ""))


def block_words(page: PageBlocks) -> list[list[str]]:
    """The words of every block, in lower case."""
    text = page.text.tobytes()
    return [
        _WORD.findall(unescape(text[place[START] : place[END]].decode("utf-8", "replace")).lower())
        for place in page.place
    ]


def labels(words: list[list[str]], gold: str) -> np.ndarray:
    """The share of every block in the gold text, (b,) float64 in 0..1."""
    wanted = _WORD.findall(gold.lower())
    grams = {
        tuple(wanted[i : i + n]) for n in range(2, SHINGLE + 1) for i in range(len(wanted) - n + 1)
    }
    found = np.zeros(len(words))

    for block, own in enumerate(words):
        if len(own) >= SHINGLE:
            runs = [tuple(own[i : i + SHINGLE]) for i in range(len(own) - SHINGLE + 1)]
            found[block] = sum(run in grams for run in runs) / len(runs)

    for block, own in enumerate(words):
        if 0 < len(own) < SHINGLE:
            found[block] = _joins(words, found, block, grams)

    return found


def _joins(
    words: list[list[str]], found: np.ndarray, block: int, grams: set[tuple[str, ...]]
) -> float:
    """1 if a short block has the same neighbour in the gold text as on the page."""
    own = tuple(words[block])
    before = _around(words, found, range(block - 1, max(-1, block - 6), -1))
    after = _around(words, found, range(block + 1, min(len(words), block + 6)))
    need = SHINGLE - len(own)
    for other in before:
        if (*other[-need:], *own) in grams and len(other):
            return 1.0

    for other in after:
        if (*own, *other[:need]) in grams and len(other):
            return 1.0

    return 0.0


def _around(words: list[list[str]], found: np.ndarray, order: range) -> list[tuple[str, ...]]:
    """The words that may be next to a short block in the gold text.

    They are its neighbour's, and those of the nearest long block of content.
    """
    candidates = []
    for number, other in enumerate(order):
        if number == 0 or (found[other] > 0.5 and len(words[other]) >= SHINGLE):
            candidates.append(tuple(words[other]))
            if number:
                break

    return candidates


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
    samples: Sequence[Sample], seed: int, count: int = NUM_FOLDS
) -> list[np.ndarray]:
    """Probabilities for every sample's blocks, by a model that has seen no page of its domain."""
    fold = folds(samples, count, seed)
    found: list[np.ndarray] = [np.empty(0)] * len(samples)
    for number in range(count):
        judge = chances(
            fit_model(
                [item for item, own in zip(samples, fold, strict=True) if own != number], seed
            )
        )
        for index in np.flatnonzero(fold == number).tolist():
            found[index] = judge(samples[index].page)
        log.info("fold %d of %d done", number + 1, count)

    return found


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


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, score, and write the model with its card."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fit_extractor", description="Fit the learned extractor."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of annotated pages")
    parser.add_argument(
        "--out", type=Path, default=PACKAGE, help="where model and card go (default: the package)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of every draw (default: 1)")
    parser.add_argument(
        "--day", type=date.fromisoformat, default=None, help="the card's date (default: today)"
    )
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not (args.data / GOLD_FILE).is_file() or not (args.data / PAGES_FILE).is_file():
        raise SystemExit(
            f"{args.data} has no {GOLD_FILE} and {PAGES_FILE}; name the folder that holds both"
        )

    samples: list[Sample] = []
    checks: list[tuple[dict[str, Any], PageBlocks]] = []
    for row, html in read_pages(args.data):
        if row["kind"] == "full" and row["text"]:
            samples.append(sample(row, html))
        elif row["kind"] == "segments":
            checks.append((row, blocks(rewritten(html).encode("utf-8", "replace"))))

    learned = [item for item in samples if item.gold["source"] in TRAINED_ON]
    domains = {item.gold["domain"] for item in learned}
    unseen = [
        item
        for item in samples
        if item.gold["source"] not in TRAINED_ON and item.gold["domain"] not in domains
    ]
    log.info("%d pages to learn from, %d others", len(learned), len(unseen))
    found = cross_validate(learned, args.seed)
    crossed = {use: scored(learned, found, use) for use in Use}
    model = fit_model(learned, args.seed)
    judge = chances(model)
    fresh = scored(unseen, [judge(item.page) for item in unseen], Use.BALANCED)
    snippets = snippet_scores(
        (row["with"], row["without"], extracted(page, judge(page), Use.BALANCED))
        for row, page in checks
        if row["domain"] not in domains
    )
    content = trees.save(model)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / MODEL_FILE).write_bytes(content)
    tables = {
        f"Cross-validated, `{use}`": score_table(learned, pages) for use, pages in crossed.items()
    }
    tables["Sources that nothing was learned from, `balanced`"] = score_table(unseen, fresh)
    card = model_card(learned, tables, snippets, args.seed, args.day or date.today(), content)
    (args.out / CARD_FILE).write_text(card, "utf-8")
    by_page = {
        item.gold["id"]: [None if share is None else round(share, 4) for share in page]
        for item, page in zip(learned, crossed[Use.BALANCED], strict=True)
    }
    (args.out / CROSSED_FILE).write_text(
        json.dumps(by_page, indent=0, sort_keys=True) + "\n", "utf-8"
    )
    print(card)

    return 0


def model_card(
    learned: Sequence[Sample],
    tables: dict[str, dict[str, tuple[int, Scores]]],
    snippets: SnippetScores,
    seed: int,
    day: date,
    content: bytes,
) -> str:
    """The model card in Markdown: purpose, training data, scores."""
    lines = [
        "# Model card: main text of web pages",
        "",
        f"Made on {day.isoformat()} by `python -m tools.fit_extractor --seed {seed}`; {len(content):,} bytes, xxh3-128 "
        f"`{xxhash.xxh3_128_hexdigest(content)}`. Two forests of gradient-boosted trees (LightGBM "
        f"{lightgbm.__version__}, {ROUNDS[0]} and {ROUNDS[1]} trees) judge blocks of text: is it the page's content?",
        "",
        "Learned from annotations under permissive licences; neither pages nor gold texts are part of the package.",
        "",
        "| source | pages | domains | licence of the annotations |",
        "| --- | --- | --- | --- |",
    ]

    for source, licence in TRAINED_ON.items():
        own = [item.gold for item in learned if item.gold["source"] == source]
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
        f"cross-validation ({NUM_FOLDS} folds) no registered domain is on both sides. English pages dominate the data;",
        "shops and listings are what the model is worst at.",
        "",
    ]

    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
