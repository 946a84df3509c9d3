"""What a person is shown: the removed page beside its survivor, samples, reports."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from dedup import report, review
from dedup.near_duplicates import groups
from dedup.near_duplicates.groups import Band
from dedup.words import Ragged
from tests.dedup.made import MadeCorpus, Page
from webtext.takedown.batch import remove_from_batch

New = Callable[[], MadeCorpus]
WORDS = [f"word{index}" for index in range(5000)]


def test_marks_are_what_no_shared_shingle_covers() -> None:
    text = "The quick, brown fox jumps over it and goes home."
    other = "the quick brown fox jumps over — her and goes home"
    assert review.marked(text, other, 3) == "The quick, brown fox jumps over ⟦it⟧ and goes home."
    assert review.marked(text, text, 3) == text
    assert review.marked("nothing here", other, 3) == "⟦nothing here⟧"
    assert review.marked("— !", other, 3) == "— !"


@pytest.fixture(scope="module")
def two_batches(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeCorpus, Page, Page, Page]:
    """A page in batch `one`; a near copy of it and a page with a leak in batch `two`. Only to be read."""
    tmp_path = tmp_path_factory.mktemp("sets")
    generator = random.Random(5)
    body = generator.choices(WORDS, k=120)
    entry = " ".join(generator.choices(WORDS, k=30))
    kept = Page(" ".join(body), 9)
    near = Page(" ".join([*body[:60], "another", *body[61:]]), 4)
    leaked = Page(" ".join(generator.choices(WORDS, k=20)) + " " + entry, 5)
    (tmp_path / "stories.jsonl").write_text(json.dumps({"text": entry}))
    (tmp_path / "train.jsonl").write_text(json.dumps({"text": " ".join(entry.split()[:15])}))
    (tmp_path / "testsets.toml").write_text('[stories]\ntrain = "train.jsonl"\n')
    corpus = MadeCorpus(tmp_path_factory.mktemp("corpus"))
    setting = f'dedup.testsets=["{tmp_path}"]'
    for batch, pages in (("one", [kept]), ("two", [near, leaked])):
        corpus.add(batch, pages)
        assert corpus.dedup(batch, "--set", setting) == 0
    return corpus, kept, near, leaked


def test_explain_and_sample(
    two_batches: tuple[MadeCorpus, Page, Page, Page], capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, kept, near, leaked = two_batches
    capsys.readouterr()
    assert corpus.dedup("two", "--explain", near.id) == 0
    shown = capsys.readouterr().out
    assert f"near_duplicate of {kept.id}, similarity 0.9" in shown
    assert "⟦another⟧" in shown
    assert corpus.dedup("two", "--explain", leaked.id) == 0
    assert " ".join(leaked.text.split()[20:]) in capsys.readouterr().out
    assert corpus.dedup("one", "--explain", kept.id) == 0
    assert "kept" in capsys.readouterr().out
    assert corpus.dedup("two", "--sample") == 0
    shown = capsys.readouterr().out
    assert shown.count("removed:") == 2
    assert shown.count("kept:") == 1
    assert corpus.dedup("two", "--explain", "f" * 32) == 2
    assert corpus.dedup("two", "--explain", "../x") == 2
    assert "no verdict on" in capsys.readouterr().err
    assert corpus.dedup("two", "--explain", "") == 2
    assert "no verdict on ''" in capsys.readouterr().err
    assert corpus.dedup("two", "--sample", "0") == 2
    assert "--sample is 0" in capsys.readouterr().err


def test_reports(two_batches: tuple[MadeCorpus, Page, Page, Page]) -> None:
    corpus, kept, near, leaked = two_batches
    report = corpus.store.read_json("reports/dedup-two.json")
    assert report["largest_groups"] == [
        {"survivor": kept.id, "url": f"https://example.org/{kept.id}", "removed": 1}
    ]
    assert sum(report["similarity_histogram"].values()) == 1
    assert report["domains"] == [
        {"domain": "example.org", "pages": 2, "removed": 2, "removed_frac": 1.0}
    ]
    overlap = corpus.store.read_json("reports/overlap-two.json")
    (row,) = overlap["table"]
    assert (row["testset"], row["n"], row["ngrams"], row["found"], row["share_so_far"]) == (
        "stories",
        8,
        23,
        23,
        1.0,
    )
    assert row["share_of_own_train"] == 8 / 23
    assert overlap["worst_pages"][0]["doc_id"] == leaked.id
    assert overlap["worst_entries"][0]["words_found"] == 30
    assert overlap["entries"] == {"stories": {"entries": 1, "overlapping": [0]}}
    assert corpus.store.read_json("reports/overlap-one.json")["table"][0]["found"] == 0
    assert near.id != leaked.id


def test_a_survivor_that_was_taken_down_hides_nothing_else(
    two_batches: tuple[MadeCorpus, Page, Page, Page],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given, kept, near, _ = two_batches
    shutil.copytree(given.root, tmp_path, dirs_exist_ok=True)
    corpus = MadeCorpus(tmp_path)
    remove_from_batch(corpus.store, "one", frozenset([kept.id]))
    capsys.readouterr()
    assert corpus.dedup("two", "--explain", near.id) == 0
    assert f"{near.text}\n\n--- kept: no longer in the corpus" in capsys.readouterr().out
    assert corpus.dedup("two", "--sample", "1") == 0
    assert capsys.readouterr().out.count("removed:") == 1
    assert corpus.dedup("two", "--sample", "2") == 0
    assert capsys.readouterr().out.count("kept: no longer in the corpus") == 1
    (group,) = report.duplicates(corpus.store, "two")["largest_groups"]
    assert group == {"survivor": kept.id, "url": None, "removed": 1}


def test_the_door_prints_the_table_beside_the_papers(
    made_corpus: New, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = " ".join(random.Random(5).choices(WORDS, k=31))
    (tmp_path / "wikitext2.txt").write_text(entry)
    corpus = made_corpus()
    corpus.add("b", [Page(" ".join(entry.split()[:14]))])
    assert corpus.dedup("b", "--set", f'dedup.testsets=["{tmp_path}"]') == 0
    shown = capsys.readouterr().out
    assert "wikitext2 8 24 29.17% 29.17% - 1.63% 0.66%" in " ".join(shown.split())
    assert "entry 0 of wikitext2: 14 of 31 words found: " + entry[:40] in shown
    assert " 2 n-grams: " + entry[:40] in shown


def test_reports_are_those_of_the_verdicts_that_stand(
    made_corpus: New,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A rebuild that is killed between its last commit and its reports: the next run finds those of before, and writes them."""
    entry = " ".join(random.Random(5).choices(WORDS, k=30))
    (tmp_path / "stories.txt").write_text(entry)
    with_sets = ("--set", f'dedup.testsets=["{tmp_path}"]')
    corpus = made_corpus()
    corpus.add("b", [Page("a b c d e f g", 5), Page("a b c d e f h", 4), Page(entry)])
    assert corpus.dedup("b") == 0
    assert corpus.store.read_json("reports/dedup-b.json")["counts"]["kept"] == 3

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report, "write_reports", killed)
        assert corpus.dedup("b", *with_sets, "--rebuild") == 130
    assert corpus.dedup("b", *with_sets) == 0
    assert corpus.store.read_json("reports/dedup-b.json")["counts"]["test_overlap"] == 1
    assert "stories 8 23" in " ".join(capsys.readouterr().out.split())
    assert corpus.dedup("b", "--rebuild") == 0
    assert not corpus.store.exists("reports/overlap-b.json"), (
        "of verdicts that no test set has touched"
    )


def test_similarities_are_counted_where_they_belong(made_corpus: New) -> None:
    shared = [f"w{index}" for index in range(18)]
    corpus = made_corpus()
    corpus.add("b", [Page(" ".join([*shared, "x"]), 9), Page(" ".join([*shared, "x", "y"]), 3)], 1)
    assert (
        corpus.dedup("b", "--set", "dedup.shingles.n=1", "--set", "dedup.lsh.rows_per_band=1") == 0
    )
    (row,) = [row for row in corpus.verdicts("b").values() if not row["kept"]]
    assert row["similarity"] == pytest.approx(0.95)
    assert corpus.store.read_json("reports/dedup-b.json")["similarity_histogram"] == {
        "0.95-1.00": 1
    }


def test_explaining_asks_for_the_verdicts_alone(
    two_batches: tuple[MadeCorpus, Page, Page, Page],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run that was stopped between the verdicts and the index has verdicts to look at."""
    given, _, near, _ = two_batches
    shutil.copytree(given.root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "bands/two/_manifest.json").unlink()
    assert MadeCorpus(tmp_path).dedup("two", "--explain", near.id) == 0
    assert "⟦another⟧" in capsys.readouterr().out


def test_groups_and_pairs_by_similarity(
    made_corpus: New, capsys: pytest.CaptureFixture[str]
) -> None:
    """Members of a group by similarity, removals of a band, and kept pairs just under the threshold."""
    body = [f"w{index}" for index in range(100)]
    pages = {
        own: Page(" ".join([*body[: 100 - own], *(f"x{own}y{at}" for at in range(own))]), 9 - own)
        for own in (0, 1, 5, 15, 16)
    }
    corpus = made_corpus()
    corpus.add("b", list(pages.values()))
    bands_of_one = ("--set", "dedup.lsh.rows_per_band=1")
    assert corpus.dedup("b", "--set", "dedup.shingles.n=1", *bands_of_one) == 0
    capsys.readouterr()

    # 85 of 115 words are common: similarity .739, kept. 84 of 116: .724.
    assert [each for each in pages if corpus.verdicts("b")[pages[each].id]["kept"]] == [0, 15, 16]
    assert corpus.dedup("b", "--explain", pages[0].id) == 0
    shown = capsys.readouterr().out
    assert f"group of {pages[0].id}: 2 removed in this batch" in shown
    assert shown.index(f"0.980  {pages[1].id}") < shown.index(f"0.905  {pages[5].id}")
    assert corpus.dedup("b", "--explain", pages[5].id) == 0
    assert f"0.980  {pages[1].id}" in capsys.readouterr().out

    assert corpus.dedup("b", "--sample", "--similarity", "0.85-0.95") == 0
    shown = capsys.readouterr().out
    assert pages[5].id in shown
    assert pages[1].id not in shown
    assert corpus.dedup("b", "--sample", "--similarity", "0.70-0.75") == 0
    shown = capsys.readouterr().out
    assert "both kept, similarity 0.7" in shown
    assert "removed:" not in shown
    assert corpus.dedup("b", "--sample", "1", "--similarity", "0.70-0.75") == 0
    assert capsys.readouterr().out.count("both kept") == 1
    assert corpus.dedup("b", "--sample", "--similarity", "0.1-0.2") == 0
    assert "no pair of similarity 0.1 to 0.2" in capsys.readouterr().out

    for wrong in ("0.9-0.8", "0.9", "much-more", "0.5-1.5"):
        assert corpus.dedup("b", "--sample", "--similarity", wrong) == 2
        assert f"--similarity is {wrong!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("band", "found"),
    [((0.5, 0.6), 1), ((0.4, 0.5), 1), ((0.5, 0.5), 1), ((0.51, 0.6), 0), ((0.4, 0.49), 0)],
)
def test_a_band_has_its_ends(
    band: tuple[float, float], found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four shingles are common."""
    doc = np.array([b"1" * 16, b"2" * 16], "S16")
    sets = Ragged(np.array([1, 2, 3, 2, 3, 4], np.uint64), np.array([0, 3, 6]))
    manifest = SimpleNamespace(config={"shingles": {"n": 1}})
    monkeypatch.setattr(groups, "_drawn", lambda *_: (doc[:1], doc[1:]))
    monkeypatch.setattr(groups, "read_manifest", lambda *_: manifest)
    monkeypatch.setattr(
        groups.document_rows, "shingle_sets", lambda *_: [SimpleNamespace(doc=doc, sets=sets)]
    )
    pairs = groups.kept_pairs(cast(Any, None), "b", Band(*band), 9)
    assert [(pair.first, pair.similarity) for pair in pairs] == [("31" * 16, 0.5)] * found


@pytest.mark.parametrize("most", [1, 4, 99])
def test_pairs_are_drawn_by_their_ids(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours of one key, each pair once, in the order of the difference of their last 8 bytes."""
    generator = random.Random(most)
    doc = np.array([generator.randbytes(15) + b"x" for _ in range(9)], "S16")
    parts = [
        (np.array([1, 1, 1, 2, 3, 3], np.uint64), doc[[0, 1, 2, 3, 4, 5]]),
        (np.array([7, 8, 8, 9, 9], np.uint64), doc[[5, 1, 0, 6, 8]]),
    ]
    monkeypatch.setattr(groups, "MOST_PAIRS", most)
    monkeypatch.setattr(groups, "_parts", lambda *_: iter(parts))

    def lot(pair: tuple[bytes, bytes]) -> int:
        first, second = (int.from_bytes(each[8:], "big") for each in pair)
        return (first - second) % 2**64

    neighbours = [(0, 1), (1, 2), (4, 5), (6, 8)]
    pairs = [(min(doc[a], doc[b]), max(doc[a], doc[b])) for a, b in neighbours]
    found = groups._drawn(cast(Any, None), cast(Any, None))
    assert (
        list(zip(*(side.tolist() for side in found), strict=True)) == sorted(pairs, key=lot)[:most]
    )
