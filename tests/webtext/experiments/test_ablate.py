"""Ablations: the statistics on made data, the arms' settings, and a whole one on a grown corpus."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from corpus.errors import ConfigError, InputError
from corpus.storage.store import open_corpus
from tests.support import grown_corpus
from webtext.ablate import command, overlay
from webtext.ablate.arms import Arm, arms_of_file, arms_of_vary
from webtext.ablate.compare import bootstrap_interval, compare, detectable, seeds_needed
from webtext.ablate.result import ArmResult, draw, notes, rows
from webtext.ablate.student import cdf, quantile, two_sided_p


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 30, 999])
def test_student_is_scipys(df: int) -> None:
    for t in (-40.0, -2.5, -0.1, 0.0, 0.7, 3.0, 25.0):
        assert cdf(t, df) == pytest.approx(stats.t.cdf(t, df), abs=1e-12)
        assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), abs=1e-12)
    for probability in (0.005, 0.025, 0.5, 0.8, 0.999):
        expected = stats.t.ppf(probability, df)
        assert quantile(probability, df) == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    """Normal differences around a known mean: 95 % for paired t, within four standard errors."""
    rng = np.random.default_rng(3)
    num, seeds, mean = 400, 5, 0.02
    hits = {"t": 0, "bootstrap": 0}
    for _ in range(num):
        first = rng.normal(1, 0.05, seeds)
        found = compare(first, first + rng.normal(mean, 0.01, seeds))
        assert found.t_interval is not None
        assert found.bootstrap_interval is not None
        for name, (low, high) in (
            ("t", found.t_interval),
            ("bootstrap", found.bootstrap_interval),
        ):
            hits[name] += low <= mean <= high

    error = math.sqrt(0.95 * 0.05 / num)
    assert abs(hits["t"] / num - 0.95) < 4 * error
    # Five values say little of a tail: Hesterberg 2015 has 0.93 to 0.94 for normal data.
    assert 0.95 - 6 * error < hits["bootstrap"] / num < 0.95 + 4 * error


def test_plain_percentiles_would_be_too_narrow() -> None:
    """The reason for expanding them."""
    values = np.array([0.01, 0.03, 0.02, 0.05, -0.01])
    low, high = bootstrap_interval(values)
    picks = np.random.default_rng(0).choice(values, (10_000, 5)).mean(axis=1)
    plain = np.quantile(picks, 0.975) - np.quantile(picks, 0.025)
    assert high - low > 1.2 * plain


@pytest.mark.parametrize("num_arms", [2, 4])
def test_equal_arms_are_seldom_told_apart(num_arms: int) -> None:
    """No difference is claimed in 19 of 20 experiments, whatever the number of arms."""
    rng = np.random.default_rng(num_arms)
    claims, num = 0, 60
    for _ in range(num):
        first, *others = rng.normal(1, 0.05, (num_arms, 5))
        found = [compare(first, other, num_comparisons=num_arms - 1) for other in others]
        claims += any(each.verdict in ("better", "worse") for each in found)
    assert claims / num <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / num)


def test_a_planted_difference_is_found_and_its_sign() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(1.2, 0.05, 5)
    worse = first + rng.normal(0.03, 0.005, 5)
    assert compare(first, worse).verdict == "worse"
    assert compare(worse, first).verdict == "better"
    found = compare(first, worse)
    assert found.p is not None
    assert found.p < 0.01
    assert found.p == pytest.approx(stats.ttest_rel(worse, first).pvalue)


def test_arms_of_the_same_runs_are_identical() -> None:
    assert compare([1.0, 2.0], [1.0, 2.0]).verdict == "identical"


def test_the_seeds_that_would_do_do() -> None:
    """With the promised number of seeds, a difference is found in about four of five experiments."""
    rng = np.random.default_rng(2)
    needed = seeds_needed(0.01, 0.012)
    assert needed is not None
    found = [
        compare(np.zeros(needed), rng.normal(0.01, 0.012, needed)).verdict == "worse"
        for _ in range(120)
    ]
    assert 0.65 < np.mean(found) < 0.93
    assert seeds_needed(1e-6, 1.0) is None
    least = detectable(needed)
    assert least is not None
    assert least <= 0.01 / 0.012 < (detectable(needed - 1) or 0)


def test_one_seed_tells_nothing() -> None:
    found = compare([1.0], [2.0])
    assert (found.verdict, found.t_interval) == ("not enough seeds to tell", None)
    assert detectable(1) is None


def test_every_combination_is_an_arm() -> None:
    vary = ["clean.quality.preset=webtext,c4", 'dedup.testsets=[],["a,b"]']
    arms = arms_of_vary("c", vary, None)
    assert [arm.sets for arm in arms] == [
        ("clean.quality.preset=webtext", "dedup.testsets=[]"),
        ("clean.quality.preset=webtext", 'dedup.testsets=["a,b"]'),
        ("clean.quality.preset=c4", "dedup.testsets=[]"),
        ("clean.quality.preset=c4", 'dedup.testsets=["a,b"]'),
    ]
    assert {arm.first_stage for arm in arms} == {"clean"}
    assert arms[1].name == "webtext-testsets_a_b"


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("clean.quality.preset", "expected KEY=VALUE,VALUE"),
        ("clean.quality.preset=webtext", "two values or more"),
        ("crawl.links.min_score=3,5", "build another crawl as a corpus"),
        ("dedup.threshold=0.7,0.7", "own names"),
    ],
)
def test_what_cannot_be_varied_is_refused(vary: str, message: str) -> None:
    with pytest.raises((ConfigError, InputError), match=message):
        arms_of_vary("c", [vary], None)


def test_arms_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "arms.toml"
    path.write_text(
        '[[arm]]\nname = "as-built"\nsnapshot = "2024-01"\n'
        '[[arm]]\nname = "strict"\ncorpus = "other"\nset = {"dedup.threshold" = 0.6}\n'
    )
    first, second = arms_of_file(str(path), "c")
    assert first == Arm("as-built", "c", (), "2024-01")
    assert second == Arm("strict", "other", ("dedup.threshold=0.6",))

    path.write_text('[[arm]]\nname = "a"\nseeds = 3\n')
    with pytest.raises(ConfigError, match="seeds"):
        arms_of_file(str(path), "c")


@pytest.mark.parametrize(("text", "number"), [("500k", 500_000), ("1.5M", 1_500_000), ("7", 7)])
def test_numbers_of_tokens(text: str, number: int) -> None:
    assert command.num_tokens(text) == number
    with pytest.raises(InputError, match="expected a number"):
        command.num_tokens(f"{text}x")


def arm_result(name: str, **more: Any) -> ArmResult:
    values: dict[str, Any] = {
        "sets": (),
        "bits_per_byte": (1.0, 1.1),
        "curves": ([(10, 2.0), (20, 1.0)], [(10, 2.2), (20, 1.1)]),
        "train_tokens": 100,
        "passes": 0.5,
        "wall_s": 1.0,
        "against_first": None,
    }
    return ArmResult(name, **(values | more))


def test_results_say_what_would_do_and_what_is_unfair() -> None:
    first = arm_result("a")
    other = arm_result("<b>", passes=3.0, against_first=compare([1.0, 1.1], [1.01, 1.09]))
    assert "not enough seeds to tell; over 1000 would do" in rows([first, other])[1]
    assert "<b> saw its data 3.00 times" in notes([first, other])[0]
    drawn = draw([first, other])
    assert drawn.count("<polygon") == 2
    assert "&lt;b&gt;" in drawn
    assert "<b>" not in drawn


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A corpus of short and long pages."""
    folder = tmp_path_factory.mktemp("ablate")
    sites = [
        grown_corpus.Site(f"http://site{n}.test/p", grown_corpus.prose(n, 4 + 8 * (n % 2)))
        for n in range(16)
    ]
    root = str(folder / "corpus")
    grown_corpus.grow(root, "2024-01", sites, folder, "--set", "dedup.threshold=0.9")
    return root


def tree(root: str) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in Path(root).rglob("*")
        if path.is_file()
    }


def test_settings_are_those_that_a_batch_was_built_with(original: str) -> None:
    """Given on a command line and kept nowhere else; bands are left to follow the threshold."""
    sets = overlay.settings_as_built(open_corpus(original), "2024-01")
    assert "dedup.threshold=0.9" in sets
    assert "shards.writer.val_frac=0.2" in sets
    assert not any(each.startswith("dedup.lsh") for each in sets)


def test_an_arm_links_what_it_does_not_change(original: str, tmp_path: Path) -> None:
    """A changed threshold reuses documents, and the corpus stays as it is to the last byte."""
    before = tree(original)
    arm = Arm("strict", original, ("dedup.threshold=0.5",))
    root = tmp_path / "strict"
    snapshot = overlay.build(arm, root, ["--executor", "serial"], [])
    assert tree(original) == before

    for table, linked in (("documents", True), ("pages", True), ("verdicts", False)):
        path = f"{table}/2024-01/_manifest.json"
        assert os.path.samefile(root / path, f"{original}/{path}") == linked, table

    made = tree(str(root))
    assert overlay.build(arm, root, ["--executor", "serial"], []) == snapshot
    assert tree(str(root)) == made
    with pytest.raises(InputError, match="begun with other arm"):
        overlay.build(Arm("strict", original, ("dedup.threshold=0.6",)), root, [], [])


def test_folders_inside_of_the_corpus_are_refused(
    original: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--corpus", original, "--vary", "dedup.threshold=0.5,0.6", "--to"]
    assert command.main([*words, f"{original}/runs/x"]) == 2
    assert command.main([*words, "s3://bucket/x"]) == 2
    assert capsys.readouterr().err.count("error: --to ") == 2


@pytest.mark.soak
def test_a_whole_ablation(original: str, tmp_path: Path) -> None:
    """Two arms, two seeds, then a third seed: nothing is done twice, the corpus is untouched."""
    before = tree(original)
    mine = tmp_path / "mine.jsonl"
    mine.write_text(json.dumps({"text": grown_corpus.prose("mine")}) + "\n")
    words = [
        *("--texts", f"mine={mine}"),
        *("--corpus", original, "--vary", "clean.quality.min_words=1,150", "--executor", "serial"),
        *("--tokens", "2k", "--shape", "tiny", "--to", str(tmp_path / "out")),
        *("--set", "train.batch_size=2", "--set", "train.model.n_layer=1"),
        *("--set", "train.model.block_size=64", "--set", "train.model.n_embd=32"),
    ]
    assert command.main([*words, "--seeds", "2"]) == 0
    made = tree(str(tmp_path / "out/arms"))
    assert command.main([*words, "--seeds", "2"]) == 0
    assert tree(str(tmp_path / "out/arms")) == made
    assert command.main([*words, "--seeds", "3"]) == 0
    later = tree(str(tmp_path / "out/arms"))
    assert {path: later[path] for path in made} == made
    assert tree(original) == before

    found = json.loads((tmp_path / "out/result.json").read_text())
    assert [arm["name"] for arm in found["arms"]] == ["min_words_1", "min_words_150"]
    assert found["arms"][0]["train_tokens"] > found["arms"][1]["train_tokens"]
    assert all(len(arm["bits_per_byte"]) == 3 for arm in found["arms"])
    assert found["arms"][1]["against_first"]["t_interval"] is not None
    mine_first, mine_second = found["domains"]
    assert (mine_first["texts"], mine_first["against_first"]) == ("mine", None)
    assert len(mine_second["against_first"]["differences"]) == 3
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("<polygon") == 2
    assert "<h2>By domain</h2>" in page
    assert command.main([*words, "--seeds", "3", "--tokens", "3k"]) == 2


def test_settings_of_arms_are_checked_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also by a dry run, which took every value for good."""
    open_corpus(str(tmp_path / "c"), create=True)
    words = ["--corpus", str(tmp_path / "c"), "--to", str(tmp_path / "out"), "--dry-run"]
    good, bad = "clean.quality.preset=webtext,c4", "clean.quality.preset=webtext,fineweeb"
    for more, message in (
        (["--vary", bad], "clean.quality.preset = 'fineweeb'"),
        (["--vary", good, "--set", "train.model.n_layer=no"], "train.model.n_layer"),
        (["--vary", good, "--set", "crawk.x=1"], "key 'crawk.x' must begin with one of"),
    ):
        assert command.main([*words, *more]) == 2
        assert message in capsys.readouterr().err
    assert command.main([*words, "--vary", good]) == 0
    assert not (tmp_path / "out").exists()


def test_a_refused_corpus_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--corpus", str(tmp_path / "none"), "--vary", "clean.quality.preset=webtext,c4"]
    assert command.main([*words, "--to", str(tmp_path / "out")]) == 2
    assert "no corpus there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
