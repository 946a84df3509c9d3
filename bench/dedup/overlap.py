"""Pages against test sets: ours, lm-eval's janitor and datatrove's filter, on the same input.

    python -m bench.dedup.overlap [--json]

The input is real prose with planted passages of LAMBADA: a whole one as a page, 30 words inside a
page, with other punctuation and case inside a page, and between remains of markup. The index holds
the test sets of the shared folder, up to about a million n-grams. `ours` measures 8-grams and
removes 13-grams in one pass; `janitor` cuts 13-grams; `datatrove` looks for 12-grams. Building the
index is not timed. Slow contestants get the planted pages and a part of the prose.

`recall` is the share of planted pages flagged; `precision` is the share of flagged pages planted
(prose with a quotation of a test set counts against all alike).
"""

from __future__ import annotations

import importlib.util
import json
import random
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard

from bench.material import shared
from bench.measure import Contestant, Turn, Work, arguments, compare, show
from corpus.evaluation_sets.files import load_testsets

SETS = ("lambada_openai", "wikitext2", "ptb", "wsc273")
PROSE = ("openstax", "peps", "us_gov_18f", "us_gov_digitalgov", "anarchist_faq")
PLANTED_EACH = 75
# Pages of prose for the slow contestants, besides the planted pages.
SLOW_BYTES = 2_000_000
SEED = 5


def main() -> None:
    args = arguments(__doc__).parse_args()
    root = shared()
    planted, prose = _pages(root)
    size = sum(len(page.encode()) for page in planted + prose)
    result = compare(
        "overlap",
        CONTESTANTS,
        str(root),
        description=(
            f"{len(prose):,} pages of prose and {len(planted)} planted, {size / 1e6:.0f} MB, "
            f"against {', '.join(SETS)}"
        ),
        unit="MB/s",
        rounds=args.rounds,
    )
    show(result, as_json=args.json)


def ours(root: str, most_bytes: int | None = None) -> Work:
    """Words, 8-grams and 13-grams looked up in one pass."""
    from dedup import words
    from dedup.contamination import overlap

    config = overlap.OverlapConfig()
    ngrams = overlap.ngrams_of(_sets(Path(root)), config)
    index = overlap.build_index(ngrams.ngram, ngrams.n, ngrams.prefix, config.prefix_words)
    planted, prose = _pages(Path(root), most_bytes)
    pages = pa.array(planted + prose, pa.large_string())
    overlap.find(words.word_hashes(pages.slice(0, 2)), index)

    def work() -> Turn:
        flagged: set[int] = set()
        for first, after in words.slices(pages):
            hits = overlap.find(words.word_hashes(pages.slice(first, after - first)), index)
            flagged.update((np.unique(hits.text[ngrams.removes[hits.key]]) + first).tolist())

        turn = _turn(planted, prose, flagged)
        more = {
            "ngrams": float(len(ngrams)),
            "bytes_per_ngram": round(index.nbytes / len(ngrams), 1),
        }

        return Turn(turn.amount, {**turn.quality, **more})

    return work


def ours_edits(root: str) -> Work:
    """The whole search of the stage: grams, passages with edits, short pairs, divided words.

    Whole entries are planted, every eighth word replaced.
    """
    from dedup import words
    from dedup.contamination import test_index
    from dedup.contamination.overlap import OverlapConfig

    config = OverlapConfig()
    tables = test_index.tables(_sets(Path(root)), config)
    index = test_index.TestIndex.of_tables(*tables, config.prefix_words)
    planted, prose = _pages(Path(root))
    generator = random.Random(SEED)
    entries = load_testsets([str(Path(root) / "evalsets" / SETS[0])])[0].texts
    around = [text for text in prose if len(text) > 4_000][:50]
    for place, entry in enumerate(generator.sample(entries, len(planted))):
        edited = " ".join(
            "edited" if at % 8 == 7 else word for at, word in enumerate(entry.split())
        )
        text = generator.choice(around)
        planted[place] = f"{text[:1_500]} {edited} {text[1_500:3_000]}"
    pages = pa.array(planted + prose, pa.large_string())
    test_index.search(pages.slice(0, 2), index, config)

    def work() -> Turn:
        flagged: set[int] = set()
        for first, after in words.slices(pages):
            found = test_index.search(pages.slice(first, after - first), index, config)
            flagged.update(first + text for text, hits in found if hits.removable.size)
        return _turn(planted, prose, flagged)

    return work


def janitor(root: str) -> Work:
    """lm-eval's `Janitor` in Python, loaded from its file: the package would import torch."""
    file = next(each for each in metadata.files("lm_eval") or [] if each.name == "janitor.py")
    spec = importlib.util.spec_from_file_location("janitor", file.locate())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cleaner = module.Janitor()
    for testset in _sets(Path(root)):
        for text in testset.texts:
            cleaner.register_contaminant_python(text)

    return _flagging(root, lambda page: cleaner.clean_python(page) != [page])


def datatrove(root: str) -> Work:
    """`NGramsDecontFilter`, with an index built here by its rule: its indexer needs lighteval."""
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
    from datatrove.utils.text import ngrams, simplify_text

    config = NGramsDecontConfig()
    chosen = NGramsDecontFilter(tempfile.gettempdir(), config)

    def hashes(text: str) -> set[int]:
        words = chosen.tokenizer.word_tokenize(simplify_text(text, config.norm_config))
        return {chosen.hash_func(" ".join(gram)) for gram in ngrams(words, config.n_grams)}

    texts = [text for testset in _sets(Path(root)) for text in testset.texts]
    # Its tokenizer takes at most a million characters at once.
    pieces = [text[at : at + 500_000] for text in texts for at in range(0, len(text), 500_000)]
    chosen._index_hashes = {each: "sets" for piece in pieces for each in hashes(piece)}

    return _flagging(root, lambda page: chosen.filter(Document(text=page, id="")) is not True)


CONTESTANTS = (
    Contestant("ours", ours),
    Contestant("ours-edits", ours_edits),
    Contestant("janitor", janitor, "lm_eval"),
    Contestant("datatrove", datatrove, "datatrove"),
)


def _flagging(root: str, is_flagged: Callable[[str], bool]) -> Work:
    planted, prose = _pages(Path(root), SLOW_BYTES)

    def work() -> Turn:
        return _turn(
            planted,
            prose,
            {place for place, page in enumerate(planted + prose) if is_flagged(page)},
        )

    return work


def _sets(root: Path) -> list[Any]:
    return load_testsets([str(root / "evalsets" / name) for name in SETS])


def _pages(root: Path, most_bytes: int | None = None) -> tuple[list[str], list[str]]:
    """(planted pages, prose), always the same; the first pages of prose up to `most_bytes`."""
    prose: list[str] = []
    size = 0
    for name in PROSE:
        data = (root / "prose" / "dev" / f"{name}.jsonl.zst").read_bytes()
        for line in zstandard.ZstdDecompressor().stream_reader(data).read().splitlines():
            prose.append(json.loads(line)["text"])
            size += len(line)
            if most_bytes is not None and size >= most_bytes:
                break
        if most_bytes is not None and size >= most_bytes:
            break

    generator = random.Random(SEED)
    entries = [
        " ".join(entry) for entry in load_testsets([str(root / "evalsets" / SETS[0])])[0].entries
    ]
    chosen = generator.sample(
        [entry for entry in entries if len(entry.split()) >= 60], 4 * PLANTED_EACH
    )
    around = [text for text in prose if len(text) > 4_000][:50]
    planted = []

    for place, entry in enumerate(chosen):
        text = generator.choice(around)
        before, after = text[:1_500], text[1_500:3_000]
        spelled = entry.split()
        if place % 4 == 1:
            entry = f"{before} {' '.join(spelled[10:40])} {after}"
        elif place % 4 == 2:
            entry = f"{before} — {' … '.join(spelled).upper()}! {after}"
        elif place % 4 == 3:
            entry = f"{before} <p>{' '.join(spelled[:30])}\n</p>\n<div>{' '.join(spelled[30:])}</div> {after}"
        planted.append(entry)

    return planted, prose


def _turn(planted: list[str], prose: list[str], flagged: set[int]) -> Turn:
    found = sum(place < len(planted) for place in flagged)
    size = sum(len(page.encode()) for page in planted + prose)
    quality = {"recall": found / len(planted), "precision": round(found / max(1, len(flagged)), 4)}
    return Turn(size / 1e6, quality)


if __name__ == "__main__":
    main()
