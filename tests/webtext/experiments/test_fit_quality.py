"""Quality learned from votes: labels, the fit, the file, and documents that are scored and dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clean import run as clean_run
from clean.filters.hashed_words import _counted, features
from clean.filters.learned_quality import QualityModel, model_path, parse
from corpus.errors import InputError
from corpus.storage.store import open_corpus
from corpus.tables.parquet import read_table
from tests.support import grown_corpus
from webtext.quality import command
from webtext.quality.fit import auc, calibrated, fit
from webtext.quality.labels import LEAST_GROUP, Labelled, _labels, of_file

BITS = 12


def examples(num: int, seed: int = 0) -> list[Labelled]:
    """Good texts speak of boats more often than bad ones."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(num):
        good = bool(rng.random() < 0.5)
        likely = [0.6, 0.4] if good else [0.4, 0.6]
        words = rng.choice(["boat", "gate"], 30, p=likely)
        found.append(Labelled(" ".join(words), good, f"site{number % 40}"))
    return found


@settings(deadline=None)  # the first call compiles
@given(st.text())
def test_any_text_has_features_of_length_one(text: str) -> None:
    found = features([text, "", text], 1 << BITS)
    assert found.starts[1] == found.starts[2]
    for row in (0, 2):
        part = slice(found.starts[row], found.starts[row + 1])
        assert np.all((found.buckets[part] >= 0) & (found.buckets[part] < 1 << BITS))
        if found.starts[row] < found.starts[row + 1]:
            assert np.linalg.norm(found.values[part]) == pytest.approx(1, abs=1e-3)


def test_words_and_pairs_are_counted() -> None:
    """`a b a b`: two words and the pairs `a b`, `b a`; case, digits and spaces do not count."""
    _, counts = _counted("a b a b", 1 << 20)
    assert sorted(counts.tolist()) == [1, 2, 2, 2]
    for same in ("A  B a\tb", "a b A B"):
        tabbed = same.replace("\t", " ")
        assert [x.tolist() for x in _counted(tabbed, 1 << 20)] == [
            x.tolist() for x in _counted("a b a b", 1 << 20)
        ]
    assert _counted("in 1984", 1 << 20)[0].tolist() == _counted("in 2024", 1 << 20)[0].tolist()
    assert _counted("it's", 1 << 20)[0].size == 1
    assert _counted("a.b", 1 << 20)[0].size == 5


def test_a_planted_difference_is_learned_and_calibrated() -> None:
    fitted = fit(examples(600), 1 << BITS, seed=0)
    assert fitted.tells_something
    assert fitted.auc > 0.9
    for mean, share, count in fitted.calibration:
        assert abs(mean - share) < 4 * np.sqrt(0.25 / count) + 0.05
    good, bad = fitted.model.quality(["boat " * 30, "gate " * 30])
    assert good > 0.9 > 0.1 > bad


def test_chance_is_not_taken_for_quality() -> None:
    rng = np.random.default_rng(1)
    shuffled = [each._replace(good=bool(rng.random() < 0.5)) for each in examples(600)]
    assert not fit(shuffled, 1 << BITS, seed=0).tells_something


def test_auc_is_the_share_of_ordered_pairs() -> None:
    rng = np.random.default_rng(2)
    scores, labels = rng.integers(0, 9, 60).astype(float), rng.integers(0, 2, 60).astype(float)
    pairs = [
        (a > b) + (a == b) / 2
        for a in scores[labels == 1].tolist()
        for b in scores[labels == 0].tolist()
    ]
    assert auc(scores, labels) == pytest.approx(np.mean(pairs))


def test_a_perfect_or_turned_separation_stays_finite() -> None:
    scores = np.array([-3.0, -2.0, 2.0, 3.0] * 5)
    labels = (scores > 0).astype(float)
    slope, offset = calibrated(scores, labels)
    assert 0 < slope < 100
    assert abs(offset) < 1
    assert calibrated(-scores, labels)[0] == 0


def test_equal_fits_are_equal_bytes_and_are_read_back() -> None:
    one, two = (fit(examples(300), 1 << BITS, seed=3).model.to_bytes({"a": 1}) for _ in range(2))
    assert one == two
    found = parse(one, "here")
    assert found.to_bytes({"a": 1}) == one


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04pickle",
        b"{}\n",
        QualityModel(np.zeros(256, np.float32), 0.0, 1.0, 0.0).to_bytes({})[:-1],
        QualityModel(np.zeros(256, np.float32), 0.0, 1.0, 0.0).to_bytes({}) + b"1234",
        QualityModel(np.full(256, np.nan, np.float32), 0.0, 1.0, 0.0).to_bytes({}),
        QualityModel(np.zeros(256, np.float32), float("inf"), 1.0, 0.0).to_bytes({}),
        QualityModel(np.zeros(300, np.float32), 0.0, 1.0, 0.0).to_bytes({}),
        b"[" * 100_000,
    ],
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="is not a model of quality"):
        parse(data, "here")


def test_labels_are_relative_to_the_group() -> None:
    """The same score is good in a small subreddit and bad in a large one."""
    small = [(f"s{n}", n) for n in range(LEAST_GROUP + 1)]
    large = [(f"l{n}", 100 * n) for n in range(LEAST_GROUP + 1)]
    few = [("f", 1000)] * (LEAST_GROUP - 1)
    found = dict(_labels([small, large, few]))
    middle = LEAST_GROUP // 2
    assert (found[f"s{LEAST_GROUP}"], found["l1"]) == (True, False)
    assert not {f"s{middle}", f"l{middle}", "f"} & set(found)


def test_labelled_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    path.write_text('{"text": "a", "label": 1}\n{"text": "b", "label": 0, "group": "g"}\n')
    assert of_file(str(path)) == [Labelled("a", True, "1"), Labelled("b", False, "g")]
    path.write_text('{"text": "a\u2028b\x85", "label": 1}\n', "utf-8")
    assert of_file(str(path)) == [Labelled("a\u2028b\x85", True, "1")]
    path.write_bytes(b'{"text": "\xff", "label": 1}\n')
    with pytest.raises(InputError, match="line 1: expected"):
        of_file(str(path))
    for line in ("1", '{"text": "a"}', '{"text": 1, "label": 1}', '{"text": "a", "label": 2}'):
        path.write_text(f'{{"text": "a", "label": 1}}\n{line}\n')
        with pytest.raises(InputError, match=r"line 2: expected \{"):
            of_file(str(path))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pages with words of their own for high votes and for low ones."""
    folder = tmp_path_factory.mktemp("quality")
    sites = [
        grown_corpus.Site(
            f"http://site{n}.test/p",
            grown_corpus.prose(n, 12).replace("number", "praised" if n % 2 else "cursed"),
            score=50 + n % 7 if n % 2 else 3 + n % 7,
        )
        for n in range(110)
    ]
    root = str(folder / "corpus")
    grown_corpus.link(root, "b", grown_corpus.write_dump(folder / "RS_b.zst", sites))
    grown_corpus.fetch(open_corpus(root), "b", sites)
    clean(root)
    return root


def clean(root: str, *sets: str) -> dict[str, Any]:
    words = [*grown_corpus.arguments(root, "b"), *(w for each in sets for w in ("--set", each))]
    assert clean_run.main([*words, "--rebuild"]) == 0
    documents = read_table(open_corpus(root), "documents", "b")
    dropped = read_table(open_corpus(root), "documents_dropped", "b")
    return {"documents": documents, "dropped": dropped}


def test_votes_become_a_column_and_a_filter(corpus: str, capsys: Any) -> None:
    words = ["--corpus", corpus, "--name", "votes", "--bits", str(BITS)]
    assert command.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["auc"] > 0.9
    assert "Calibration on unseen sites" in (Path(corpus) / "models/votes.md").read_text()
    assert command.main(words) == 2

    before = clean(corpus)["documents"]
    assert before["quality"].null_count == len(before)
    scored = clean(corpus, "clean.quality.model=votes")["documents"]
    assert scored.drop_columns("quality").equals(before.drop_columns("quality"))
    by_id = dict(zip(scored["doc_id"].to_pylist(), scored["quality"].to_pylist(), strict=True))

    sets = ("clean.quality.model=votes", "clean.quality.model_threshold=0.5")
    kept = clean(corpus, *sets)
    assert set(kept["documents"]["doc_id"].to_pylist()) == {i for i, q in by_id.items() if q >= 0.5}
    low = kept["dropped"].filter(
        [reason == "low_quality" for reason in kept["dropped"]["reason"].to_pylist()]
    )
    assert set(low["doc_id"].to_pylist()) == {i for i, q in by_id.items() if q < 0.5}
    assert "needs 0.5: clean.quality.model_threshold" in low["detail"][0].as_py()

    # Site cuts judge a text again: the same documents, with the same qualities.
    cut = clean(corpus, *sets, "clean.boilerplate.remove=true")["documents"]
    assert set(cut["doc_id"].to_pylist()) <= set(by_id)
    assert cut["quality"].null_count == 0


def test_another_model_makes_other_documents(corpus: str, tmp_path: Path, capsys: Any) -> None:
    """The digest of the file counts, not its name."""
    path = tmp_path / "mine.quality"
    path.write_bytes(QualityModel(np.zeros(256, np.float32), 1.0, 1.0, 0.0).to_bytes({}))
    words = [*grown_corpus.arguments(corpus, "b"), "--set", f"clean.quality.model={path}"]
    assert clean_run.main([*words, "--rebuild"]) == 0
    assert clean_run.main(words) == 0
    path.write_bytes(QualityModel(np.zeros(256, np.float32), 2.0, 1.0, 0.0).to_bytes({}))
    assert clean_run.main(words) == 2
    assert "--rebuild" in capsys.readouterr().err
    assert clean_run.main([*words[:-1], "clean.quality.model=none"]) == 2
    assert "no such model" in capsys.readouterr().err
    assert not (Path(corpus) / model_path("none")).exists()
