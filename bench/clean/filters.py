"""Quality rules beside datatrove's filters on the same real texts: speed and agreement.

    python -m bench.clean.filters [--json]

The texts are main contents of real web pages as marked by people (extraction/dev). Families:
Gopher's repetition and quality rules, C4's, FineWeb's own. `agree` is the share of texts with the
same verdict. `agree_same_words` is the same with datatrove's words in our rules (spaCy's tokens, in
which punctuation marks are words) instead of words between white space. Every difference is printed
with both reasons.

--record FILE writes datatrove's verdicts on synthetic texts in which both see the same words:
tests/fixtures/filters.json.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard

from bench.material import shared
from bench.measure import Contestant, Turn, Work, alternate, arguments, show
from clean.filters import c4, fineweb, gopher
from clean.filters.profile import Profile
from clean.filters.quality import QualityConfig

CONFIG = QualityConfig()
Verdict = Callable[[Profile], str | None]
FAMILIES = ("repetition", "quality", "c4", "fineweb")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--texts", type=int, default=600, help="texts (default: 600)")
    parser.add_argument("--record", metavar="FILE", help="write verdicts on made texts and end")
    args = parser.parse_args()
    if args.record:
        record(Path(args.record))
        return

    texts = list(itertools.islice(gold_texts(), args.texts))
    result = alternate(
        "filters",
        [
            Contestant("ours", ours, version="fineweb"),
            Contestant("datatrove", datatrove, "datatrove"),
        ],
        texts,
        description=(
            f"{len(texts)} gold texts of extraction/dev, "
            f"{sum(map(len, texts)) / 1e6:.1f} M characters"
        ),
        unit="texts/s",
        rounds=args.rounds,
    )
    if len(result["contestants"]) > 1:
        result["contestants"][0]["quality"] |= agreement(texts)
    show(result, as_json=args.json)


def our_verdict(family: str, profile: Profile) -> str | None:
    """The first reason of our rules of a family, or None."""
    if family == "c4":
        profile = Profile(c4.kept_lines(profile.text, CONFIG.c4, punctuation=True))
        return next(
            (str(reason) for rule in c4.RULES if (reason := rule(profile, CONFIG.c4))), None
        )
    if family == "fineweb":
        return next(
            (str(each) for rule in fineweb.RULES if (each := rule(profile, CONFIG.fineweb))), None
        )

    rules = gopher.RULES[:4] if family == "repetition" else gopher.RULES[4:]
    return next((str(each) for rule in rules if (each := rule(profile, CONFIG.gopher))), None)


def their_filters() -> dict[str, Callable[[str], str | None]]:
    """datatrove's verdict by family: its reason, or None."""
    from datatrove.data import Document
    from datatrove.pipeline import filters

    made = dict(
        zip(
            FAMILIES,
            (
                filters.GopherRepetitionFilter(),
                filters.GopherQualityFilter(),
                filters.C4QualityFilter(),
                filters.FineWebQualityFilter(),
            ),
            strict=True,
        )
    )

    def verdict(each: Any, text: str) -> str | None:
        answer = each.filter(Document(text=text, id="x"))
        return None if answer is True else str(answer[1] if isinstance(answer, tuple) else answer)

    return {name: lambda text, each=each: verdict(each, text) for name, each in made.items()}


def ours(texts: list[str]) -> Work:
    """All families on every text."""

    def work() -> Turn:
        for text in texts:
            profile = Profile(text)
            for family in FAMILIES:
                our_verdict(family, profile)
        return Turn(len(texts))

    return work


def datatrove(texts: list[str]) -> Work:
    """The same by datatrove."""
    theirs = their_filters()

    def work() -> Turn:
        for text in texts:
            for verdict in theirs.values():
                verdict(text)
        return Turn(len(texts))

    return work


def agreement(texts: list[str]) -> dict[str, float]:
    """Share of texts with the same verdict, by family. Prints the differences on stderr."""
    from datatrove.utils.text import split_into_words

    theirs = their_filters()
    same: Counter[str] = Counter()
    differences: Counter[tuple[str, str | None, str | None]] = Counter()

    for text in texts:
        own, lent = Profile(text), Profile(text)
        lent.__dict__["words"] = split_into_words(text)
        for family in FAMILIES:
            expected = theirs[family](text)
            same[f"agree_{family}"] += (our_verdict(family, own) is None) == (expected is None)
            found = our_verdict(family, lent)
            same[f"agree_same_words_{family}"] += (found is None) == (expected is None)
            if (found is None) != (expected is None):
                differences[family, found, expected] += 1

    for (family, found, expected), count in differences.most_common():
        print(
            f"{family}, same words: ours {found}, datatrove {expected}: {count} texts",
            file=sys.stderr,
        )

    return {name: round(count / len(texts), 4) for name, count in sorted(same.items())}


def gold_texts() -> Iterator[str]:
    """Texts of real pages, as people marked them."""
    path = shared() / "extraction" / "gold_dev.jsonl.zst"
    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["text"] and row["text"].strip():
                yield row["text"]


def record(path: Path) -> None:
    """Write datatrove's verdicts on synthetic texts."""
    theirs = their_filters()
    rows = [
        {"text": text, "dropped": {family: theirs[family](text) for family in FAMILIES}}
        for text in map(made_text, range(60))
    ]
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")


def made_text(seed: int) -> str:
    """A text of lines with various lengths, endings, repeats and signs between spaces."""
    chance = random.Random(seed)
    words = [
        "the",
        "owl",
        "of",
        "night",
        "and",
        "a",
        "lamp",
        "that",
        "we",
        "have",
        "seen",
        "with",
        "it",
        "by",
        "harbour",
        "stone",
        "window",
        "morning",
        "letter",
    ]
    words = chance.sample(words, chance.choice([4, 12, 18]))
    signs = chance.choice([["."], [".", "#"], [".", "..."], [".", "{"], [".", "7"]])
    lines: list[str] = []

    for _ in range(chance.randint(1, 14)):
        if lines and chance.random() < chance.choice([0.02, 0.3]):
            lines.append(chance.choice(lines))
            continue
        body = " ".join(chance.choices(words, k=chance.choice([2, 6, 12, 25])))
        start = chance.choice(["", "", "", "- ", "javascript "])
        lines.append(
            f"{start}{body} {chance.choice(signs)}" if chance.random() < 0.7 else start + body
        )

    return chance.choice(["\n", "\n\n"]).join(lines)


if __name__ == "__main__":
    main()
