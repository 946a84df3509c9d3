from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import zstandard

from clean.learned import trees
from clean.learned.blocks import blocks
from clean.learned.extraction import chances
from tools import fit_extractor

WORDS = [
    "stone",
    "river",
    "council",
    "bridge",
    "market",
    "winter",
    "letter",
    "garden",
    "window",
    "doctor",
    "journey",
    "morning",
]


SMALL = {"min_data_in_leaf": 5, "num_threads": 1, "learning_rate": 0.3, "bagging_fraction": 1.0}


def page(number: int) -> tuple[str, str]:
    """(HTML, gold text) of a page whose content lies in paragraphs and whose links do not count."""
    draw = np.random.default_rng(number)
    paragraphs = [" ".join(draw.choice(WORDS, 25)) + "." for _ in range(6)]
    links = "".join(f"<li><a href=/>{' '.join(draw.choice(WORDS, 5))}</a>" for _ in range(12))
    body = "".join(f"<p>{text}</p>" for text in paragraphs)
    return f"<ul class=menu>{links}</ul><article>{body}</article>", "\n".join(paragraphs)


def gold(number: int, source: str = "wcxb") -> dict[str, object]:
    return {
        "id": f"page-{number:02}",
        "source": source,
        "domain": f"site{number // 2}.org",
        "kind": "full",
        "page_type": "article",
        "file": f"pages/page-{number:02}.html.gz",
        "text": page(number)[1],
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the command reads it: 20 pages of ten sites, and two of a source that is not learned from."""
    folder = tmp_path_factory.mktemp("data")
    rows = [gold(number, "aeb" if number < 10 else "wcxb") for number in range(20)]
    rows += [
        gold(20, "dragnet"),
        gold(21, "dragnet") | {"domain": "site3.org"},
    ]  # a site that is learned from
    rows.append(
        gold(22, "traf")
        | {
            "kind": "segments",
            "text": None,
            "with": [page(22)[1][:40]],
            "without": ["no such words"],
        }
    )
    (folder / fit_extractor.GOLD_FILE).write_bytes(
        zstandard.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(23):
            content = page(number)[0].encode()
            entry = tarfile.TarInfo(f"pages/page-{number:02}.html.gz")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    (folder / fit_extractor.PAGES_FILE).write_bytes(zstandard.compress(buffer.getvalue()))
    return folder


def test_the_command_makes_a_model_its_card_and_its_scores(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fit_extractor, "PARAMETERS", fit_extractor.PARAMETERS | SMALL)
    monkeypatch.setattr(fit_extractor, "ROUNDS", (12, 12))
    monkeypatch.setattr(fit_extractor, "NUM_FOLDS", 2)
    monkeypatch.setattr(fit_extractor, "NUM_INNER_FOLDS", 2)
    for name in ("one", "two"):
        assert (
            fit_extractor.main(
                ["--data", str(data), "--out", str(tmp_path / name), "--day", "2026-11-24"]
            )
            == 0
        )
    for file in (fit_extractor.MODEL_FILE, fit_extractor.CARD_FILE, fit_extractor.CROSSED_FILE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    model = trees.load((tmp_path / "one" / fit_extractor.MODEL_FILE).read_bytes())
    unseen = blocks(page(99)[0].encode())
    chance = chances(model)(unseen)
    assert (chance > 0.5).tolist() == [False] * 12 + [True] * 6
    crossed = json.loads((tmp_path / "one" / fit_extractor.CROSSED_FILE).read_text())
    assert len(crossed) == 20
    assert np.mean(list(crossed.values())) > 0.95
    card = capsys.readouterr().out
    assert "| aeb | 10 | 5 | MIT |" in card
    assert "| dragnet | 1 |" in card
    assert "kept are 100.0% of 1 snippets that belong in the text, 0.0% of 1 that do not" in card


def test_the_trees_score_as_the_library_does(data: Path) -> None:
    import lightgbm

    draw = np.random.default_rng(3)
    rows = draw.integers(0, 9, (500, 6)).astype(np.float32)
    target = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 20).astype(float)
    booster = lightgbm.train(
        fit_extractor.PARAMETERS | SMALL,
        lightgbm.Dataset(rows, target, params=fit_extractor.PARAMETERS),
        15,
    )
    forest = fit_extractor.forest_of(booster.dump_model()["tree_info"])
    expected = booster.predict(rows, raw_score=True)
    assert trees.scores(forest, rows) == pytest.approx(expected, abs=1e-5)
    assert np.ptp(expected) > 1


def test_no_site_is_in_two_folds(data: Path) -> None:
    samples = [fit_extractor.sample(row, html) for row, html in fit_extractor.read_pages(data)]
    for seed in range(5):
        fold = fit_extractor.folds(samples, 4, seed)
        sites: dict[str, set[int]] = {}
        for item, own in zip(samples, fold, strict=True):
            sites.setdefault(item.gold["domain"], set()).add(int(own))
        assert all(len(own) == 1 for own in sites.values())
        assert set(fold) == {0, 1, 2, 3}


def test_labels_are_shares_of_shingles_and_short_blocks_ask_their_neighbours() -> None:
    words = [
        ["open"],
        ["the", "bridge", "was", "closed", "in", "winter"],
        ["read", "more"],
        ["the", "market", "was", "open", "every", "day"],
        ["share", "this"],
        ["the", "bridge", "was", "sold", "by", "someone", "else"],
    ]
    text = "The bridge was closed in winter. Read more. The market was open every day."
    assert fit_extractor.labels(words, text).tolist() == [0, 1, 1, 1, 0, 0]
    assert (
        0
        < fit_extractor.labels(
            [*words, ["market", "was", "open", "every", "night", "of", "the", "year"]], text
        )[-1]
        < 0.5
    )


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"has no gold_dev\.jsonl\.zst"):
        fit_extractor.main(["--data", str(tmp_path)])
