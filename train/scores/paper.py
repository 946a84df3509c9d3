"""Numbers of GPT-2's paper, and the table that compares ours with them.

Radford et al. 2019, table 3 and section 3: the state of the art of its time and the four sizes,
named 117M, 345M, 762M and 1542M (true counts 124M, 355M, 774M and 1558M). A number is compared with
the figure of ours that fits its published description. `docs/scores.md` lists where reproductions
disagree with the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SIZES = ("117M", "345M", "762M", "1542M")


@dataclass(frozen=True, slots=True)
class Published:
    """One row of the paper: state of the art, then the four sizes.

    None where it gives no number.
    """

    best_before: float | None
    sizes: tuple[float | None, float | None, float | None, float | None]


def _largest(best_before: float | None, value: float | None) -> Published:
    return Published(best_before, (None, None, None, value))


PAPER: Mapping[tuple[str, str], Published] = {
    ("lambada", "word_perplexity"): Published(99.8, (35.13, 15.60, 10.87, 8.63)),
    ("lambada", "last_token_accuracy"): Published(59.23, (45.99, 55.48, 60.12, 63.24)),
    ("cbt_cn", "sentence_accuracy"): Published(85.7, (87.65, 92.35, 93.45, 93.30)),
    ("cbt_ne", "sentence_accuracy"): Published(82.3, (83.4, 87.1, 88.0, 89.05)),
    ("wikitext2", "perplexity_per_word"): Published(39.14, (29.41, 22.76, 19.93, 18.34)),
    ("ptb", "perplexity_per_word"): Published(46.54, (65.85, 47.33, 40.31, 35.76)),
    ("enwik8", "bits_per_byte"): Published(0.99, (1.16, 1.01, 0.97, 0.93)),
    ("text8", "bits_per_char"): Published(1.08, (1.17, 1.06, 1.02, 0.98)),
    ("wikitext103", "perplexity_per_word"): Published(18.3, (37.50, 26.37, 22.05, 17.48)),
    ("1bw", "perplexity_per_word"): Published(21.8, (75.20, 55.72, 44.575, 42.16)),
    ("wsc273", "partial_accuracy"): _largest(63.7, 70.70),
    ("coqa", "f1"): _largest(None, 55.0),
    ("cnn_dm", "rouge1"): _largest(41.22, 29.34),
    ("cnn_dm", "rouge2"): _largest(18.68, 8.27),
    ("cnn_dm", "rougeL"): _largest(38.34, 26.58),
    ("cnn_dm", "rouge_mean"): _largest(32.75, 21.40),
    ("wmt14_en_fr", "bleu"): _largest(None, 5.0),
    ("wmt14_fr_en", "bleu"): _largest(33.5, 11.5),
    ("nq", "exact_match"): _largest(None, 4.1),
    ("nq", "exact_match_confident"): _largest(None, 63.1),
}
# Figures that the table shows though the paper has none.
FURTHER = (
    ("lambada", "word_greedy_accuracy"),
    ("lambada", "word_stopword_accuracy"),
    ("wsc273", "full_accuracy"),
    ("hellaswag", "accuracy"),
    ("hellaswag", "accuracy_per_char"),
    ("validation", "perplexity_per_token"),
    ("validation", "bits_per_byte"),
)
# Of the sets: the paper's table 3 and section 3.
ORDER = tuple(dict.fromkeys(("validation", *(name for name, _ in (*PAPER, *FURTHER)))))


def table(scores: Mapping[str, Any]) -> str:
    """Our scores and the paper's as a Markdown table, in its order; accuracies in per cent.

    Altered files and sets scored in part are marked.
    """
    head = ["set", "figure", "best before", *SIZES, "this model", "without overlap", "overlap"]
    rows = [head, ["---"] * 2 + ["---:"] * (len(head) - 2)]
    sets: Mapping[str, Any] = scores["sets"]
    shown = [key for key in (*PAPER, *FURTHER) if key[0] in sets and key[1] in sets[key[0]]]

    for name, figure in sorted(shown, key=lambda key: ORDER.index(key[0])):
        published = PAPER.get((name, figure), Published(None, (None,) * 4))
        about = scores["about"].get(name, {})
        rest = about.get("without_overlap", {}).get(figure)
        share = about.get("overlap_share")
        marks = " (not the official file)" if about.get("official") is False else ""
        marks += f" (first {about['limit']:,})" if "limit" in about else ""
        rows.append(
            [
                name + marks,
                figure.replace("_", " "),
                _number(published.best_before),
                *map(_number, published.sizes),
                _number(_as_shown(figure, sets[name][figure])),
                _number(None if rest is None else _as_shown(figure, rest)),
                "" if share is None else f"{share:.2%}",
            ]
        )

    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _as_shown(figure: str, value: float) -> float:
    return 100 * value if "accuracy" in figure else value


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if value < 10_000 else f"{value:.3g}"
