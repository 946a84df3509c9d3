"""The whole stage through its door: equal to the naive rule, in one batch or many, in any number of parts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from corpus.errors import InputError
from corpus.run import command
from corpus.tables.parquet import part_paths, read_table
from dedup import run, words
from dedup.near_duplicates import greedy, minhash
from dedup.near_duplicates.lsh import LshConfig
from tests.dedup import made, oracle
from tests.dedup.made import MadeCorpus, Page

CONFIG = LshConfig(num_bands=8, rows_per_band=1)
SMALL = (
    *("--set", "dedup.threshold=0.5", "--set", "dedup.shingles.n=2"),
    *("--set", "dedup.lsh.num_bands=8", "--set", "dedup.lsh.rows_per_band=1"),
)
New = Callable[[], MadeCorpus]


def pages_of_families(seed: int, count: int) -> list[Page]:
    """Short pages, many of them edits of others, some empty of words."""
    generator = random.Random(seed)
    pages: list[Page] = []
    for _ in range(count):
        if pages and generator.random() < 0.8:
            spelled = generator.choice(pages).text.split()
        else:
            spelled = [generator.choice("abcdefghij") for _ in range(generator.randrange(12))]
        for _ in range(generator.randrange(3)):
            if spelled:
                spelled[generator.randrange(len(spelled))] = generator.choice("abcdefghij—")
        pages.append(
            Page(" ".join(spelled), generator.randrange(3, 6), f"{generator.getrandbits(128):032x}")
        )
    return pages


def run_batches(
    corpus: MadeCorpus,
    batches: Sequence[Sequence[Page]],
    num_parts: Sequence[int],
    *settings: str,
) -> made.Naive:
    fates = {}
    for place, (pages, parts) in enumerate(zip(batches, num_parts, strict=True)):
        corpus.add(f"b{place}", pages, parts)
        assert corpus.dedup(f"b{place}", *SMALL, *settings) == 0
        fates.update({(place, name): fate for name, fate in corpus.fates(f"b{place}").items()})
    return fates


def test_parts_do_not_show(made_corpus: New) -> None:
    pages = pages_of_families(9, 80)
    batches = [pages[:50], pages[50:]]
    assert run_batches(made_corpus(), batches, [7, 2]) == made.naive_fates(batches, 0.5, 2, CONFIG)


def test_oracles_and_processes_give_the_same_bytes(
    made_corpus: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled in a pool of two, and without compiled code in this process."""
    pages = pages_of_families(4, 50)
    contents = []
    for workers in ("2", "1"):
        if workers == "1":
            monkeypatch.setattr(minhash, "sign", oracle.sign)
            monkeypatch.setattr(greedy, "open_pages", oracle.open_pages)
            monkeypatch.setattr(greedy, "choose_in_large", oracle.choose_in_large)
        corpus = made_corpus()
        corpus.add("b", pages, 2)
        assert corpus.dedup("b", *SMALL, workers=workers) == 0
        contents.append(
            [
                corpus.store.read_bytes(path)
                for table in ("signatures", "verdicts", "bands")
                for path in part_paths(corpus.store, table, "b")
            ]
        )
    assert contents[0] == contents[1]


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeCorpus, list[Page]]:
    """One batch `b0` of 70 pages, deduplicated; only to be read."""
    corpus, pages = MadeCorpus(tmp_path_factory.mktemp("corpus")), pages_of_families(7, 70)
    run_batches(corpus, [pages], [3])
    return corpus, pages


def test_bands_hold_every_key_of_kept_pages_and_no_other(
    families: tuple[MadeCorpus, list[Page]],
) -> None:
    corpus, _ = families
    bands = read_table(corpus.store, "bands", "b0")
    kept = [name for name, fate in corpus.fates("b0").items() if fate[0]]
    assert sorted(bands["doc_id"].to_pylist()) == sorted(kept * (CONFIG.num_bands + 1))
    keys = bands["key"].to_numpy()
    assert (keys[1:] >= keys[:-1]).all()


def test_every_removal_names_a_kept_page_that_is_similar(
    families: tuple[MadeCorpus, list[Page]],
) -> None:
    corpus, pages = families
    texts = {page.id: page.text for page in pages}
    verdicts = corpus.verdicts("b0")
    removed = [row for row in verdicts.values() if row["duplicate_of"]]
    assert removed
    for row in removed:
        assert verdicts[row["duplicate_of"]]["kept"]
        sets = [made.shingle_set(texts[name], 2) for name in (row["doc_id"], row["duplicate_of"])]
        assert row["similarity"] == np.float32(words.jaccard(*sets)) >= 0.5
    assert corpus.store.folders("work/b0") == []


def test_planted_pairs_are_found_as_promised(made_corpus: New) -> None:
    generator = random.Random(1)
    vocabulary = [f"w{index}" for index in range(20_000)]
    pages, copies = [], {}
    for index in range(400):
        original = generator.choices(vocabulary, k=300)
        copy = list(original)
        for at in generator.sample(range(300), generator.randrange(22)):
            copy[at] = generator.choice(vocabulary)
        first, second = (
            Page(" ".join(original), 9, f"{index:032x}"),
            Page(" ".join(copy), 3, f"{index + 1000:032x}"),
        )
        copies[second.id] = first.id
        pages.extend((first, second))
    sets = made.shingle_sets(pages, 5)
    planted = {name: words.jaccard(sets[name], sets[first]) for name, first in copies.items()}
    corpus = made_corpus()
    corpus.add("b", pages, 2)
    assert corpus.dedup("b") == 0
    fates = corpus.fates("b")
    near = [name for name, value in planted.items() if value >= 0.8]
    assert len(near) > 100
    assert min(planted.values()) < 0.5
    assert max(planted.values()) == 1.0
    assert np.mean([not fates[name][0] for name in near]) >= 0.92
    assert all(fates[name][0] for name, value in planted.items() if value < 0.75)
    assert all(fates[page.id][0] for page in pages if page.id not in planted)


def test_an_empty_batch_and_pages_without_words(made_corpus: New) -> None:
    corpus = made_corpus()
    corpus.add("empty", [], 2)
    assert corpus.dedup("empty") == 0
    corpus.add("odd", [Page("— … !"), Page(""), Page("one word")], 2)
    assert corpus.dedup("odd") == 0
    assert sorted(str(fate[1]) for fate in corpus.fates("odd").values()) == [
        "None",
        "no_words",
        "no_words",
    ]
    assert corpus.dedup("odd") == 0  # up to date


def test_a_batch_waits_for_those_before_it(
    made_corpus: New, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = made_corpus()
    corpus.add("first", [Page("a b c d e f")])
    corpus.add("second", [Page("a b c d e f g")])
    assert corpus.dedup("second") == 2
    assert "webtext dedup" in (message := capsys.readouterr().err.splitlines()[-1])
    assert "--batch first" in message


def test_a_lost_part_of_an_earlier_index_is_named(
    made_corpus: New, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = made_corpus()
    corpus.add("first", [Page("a b c d e f")], 1)
    assert corpus.dedup("first") == 0
    (corpus.root / "bands" / "first" / "part-00000.parquet").unlink()
    corpus.add("second", [Page("a b c d e f g")], 1)
    assert corpus.dedup("second") == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "lacks bands/first/part-00000.parquet" in message
    assert "--batch first --rebuild" in message
    assert not corpus.store.exists("verdicts/second/_manifest.json")


def test_a_lost_page_of_an_earlier_batch_is_named(
    made_corpus: New, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = made_corpus()
    corpus.add("first", [Page("a b c d e f g", 9)], 1)
    assert corpus.dedup("first") == 0
    (corpus.root / "documents" / "first" / "part-00000.parquet").unlink()
    corpus.add("second", [Page("A b, c d e f g!")], 1)
    assert corpus.dedup("second") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "documents/first/part-00000.parquet" in message
    assert "webtext clean" in message


def test_another_index_is_refused_with_both_values(
    made_corpus: New, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = made_corpus()
    corpus.add("first", [Page("a b c d e f")])
    assert corpus.dedup("first") == 0
    corpus.add("second", [Page("a b c d e f g")])
    assert corpus.dedup("second", "--set", "dedup.minhash.seed=7") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "'seed': 7" in message
    assert "'seed': 1" in message
    assert corpus.dedup("first", "--set", "dedup.minhash.seed=7") == 2
    assert "dedup.minhash.seed was 1, is now 7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("dedup.threshold=1.5", "threshold is 1.5"),
        ("dedup.shingles.n=0", "n is 0"),
        ("dedup.minhash.scheme=legacy", "affine32"),
        ("dedup.overlap.policy=burn", "report"),
        ("dedup.minhash.seed=-1", "seed is -1"),
        ("dedup.overlap.window_chars=-5", "window_chars is -5"),
        ("dedup.overlap.common_pages=-1", "common_pages is -1"),
        ("dedup.overlap.max_pieces=0", "max_pieces is 0"),
        ("dedup.testsets=['/nowhere/at/all']", "/nowhere/at/all"),
        ('dedup.testsets="/nowhere/at/all"', 'expected a list, ["/nowhere/at/all"]'),
    ],
)
def test_bad_settings(
    made_corpus: New, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    corpus = made_corpus()
    corpus.add("b", [Page("a b c")])
    assert corpus.dedup("b", "--set", setting) == 2
    assert message in capsys.readouterr().err
    assert not corpus.store.exists("verdicts/b/_manifest.json")


def test_json_counts(made_corpus: New, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = made_corpus()
    corpus.add("b", [Page("a b c d e f", 5), Page("A, b! c d e f", 4)])
    assert corpus.dedup("b", "--json") == 0
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])["counts"]["verdicts"]
    assert (counts["kept"], counts["exact_duplicate"]) == (1, 1)


def test_among_near_duplicates_the_clean_then_the_linked_then_the_long_stays(
    made_corpus: New, tmp_path: Path
) -> None:
    """Two batches name the same survivors as one that has the first batch's pages on top."""
    body = " ".join(f"w{number}" for number in range(120))
    leaked = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    (tmp_path / "set.jsonl").write_text(json.dumps({"text": leaked}))
    setting = f'dedup.testsets=["{tmp_path / "set.jsonl"}"]'
    other = " ".join(f"v{number}" for number in range(300))
    leaking = Page(f"{other} {body} {leaked} {other[::-1]}", 90)
    clean = Page(f"{other} {body} {other[::-1]}", 5)
    short, long = Page(f"{body} x", 7), Page(f"{body} x y", 7)
    linked = Page(f"{body} z", 8)

    cases = {
        '["clean", "score", "length"]': (clean, linked),
        '["score"]': (leaking, linked),
        '["length"]': (leaking, long),
    }
    for prefer, survivors in cases.items():
        corpus = made_corpus()
        corpus.add("b", [leaking, clean, short, long, linked])
        settings = ["--set", setting, "--set", f"dedup.survivors.prefer={prefer}"]
        assert corpus.dedup("b", *settings) == 0
        kept = {name for name, fate in corpus.fates("b").items() if fate[0]}
        assert kept == {page.id for page in survivors}

        # A page of a later batch names the first of several that it resembles.
        corpus.add("later", [Page(f"{body} z y", 1)])
        assert corpus.dedup("later", *settings) == 0
        (fate,) = corpus.fates("later").values()
        assert fate[2] == survivors[1].id


@pytest.mark.parametrize("setting", ["dedup.containment=0.9", 'dedup.survivors.prefer=["score"]'])
def test_batches_agree_on_who_stays(
    made_corpus: New, setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = made_corpus()
    for batch in ("b0", "b1"):
        corpus.add(batch, [Page(f"a page of {batch} with some words in it")])
    assert corpus.dedup("b0") == 0
    assert corpus.dedup("b1", "--set", setting) == 2
    assert "--batch b0 --rebuild` and this one" in capsys.readouterr().err
    assert corpus.dedup("b1", "--set", "dedup.survivors.pages_per_task=7") == 0


@pytest.mark.parametrize(
    ("arguments", "most", "address", "expected"),
    [
        ([], 3, "", 1),
        ([], 2, "", None),
        (["--workers", "2"], 3, "", 2),
        (["--executor", "pool"], 3, "", None),
        ([], 3, "head:6379", None),
        (["--set", "dedup.against=['known.jsonl']"], 3, "", None),
    ],
)
def test_a_batch_of_few_documents_needs_no_further_process(
    made_corpus: New,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    most: int,
    address: str,
    expected: int | None,
) -> None:
    """None is one a core: for many documents, and for all that the user chose otherwise."""
    corpus = made_corpus()
    corpus.add("2024-01", [Page("some words"), Page("other words"), Page("and more")])
    monkeypatch.setattr(command, "FEW_DOCUMENTS", most)
    monkeypatch.setenv("RAY_ADDRESS", address)
    asked = []

    def refuse(kind: str, workers: int | None, **_: object) -> NoReturn:
        asked.append(workers)
        raise InputError("not started")

    monkeypatch.setattr(command, "open_executor", refuse)
    assert run.main(["--corpus", str(corpus.root), "--batch", "2024-01", *arguments]) == 2
    assert asked == [expected]
