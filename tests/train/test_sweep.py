"""The learning-rate finder: each rate a run, judged on sequences that none of them is trained on."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import ConfigError, FatalError, InputError
from corpus.storage.store import open_corpus, open_store
from shards.reader import BlockStream, open_split
from tests.train.fakes import config
from train import job, loop
from train.config import TrainConfig
from train.job import RunRequest, RunResult, open_job, train
from train.sweep import HELD_OUT_FRAC, _variant, learning_rates, sweep


@pytest.mark.parametrize(("text", "expected"), [("1e-3,2e-4,1e-3", [2e-4, 1e-3]), ("6e-4", [6e-4])])
def test_rates_are_numbers_in_order(text: str, expected: list[float]) -> None:
    assert learning_rates(text) == expected


@pytest.mark.parametrize("text", ["", "fast", "0", "-1e-3", "inf", "1e-3,,2e-3"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected learning rates above 0"):
        learning_rates(text)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_rate_with_the_lowest_perplexity_is_the_best(tmp_path: Path, name: str) -> None:
    losses = {5e-4: math.nan, 1e-3: 3.0, 2e-3: 2.5, 4e-3: math.inf}
    seen: list[RunRequest] = []

    def launch(request: RunRequest) -> RunResult:
        seen.append(request)
        return RunResult(
            {"val_loss": losses[request.config.resolved_learning_rate]}, up_to_date=False
        )

    request = RunRequest(str(tmp_path), "b", "r", config(optimizer={"name": name}))
    open_corpus(str(tmp_path), create=True)
    result = sweep(request, sorted(losses), launch)
    assert result["best"] == 2e-3
    assert result["rates"][2]["perplexity"] == pytest.approx(math.exp(2.5))
    assert [each.run for each in seen] == ["r-lr-0.0005", "r-lr-0.001", "r-lr-0.002", "r-lr-0.004"]
    ratios = {
        each.config.optimizer.muon_learning_rate / each.config.resolved_learning_rate
        for each in seen
    }
    assert len(ratios) == (1 if name == "muon" else 4)
    assert open_store(str(tmp_path)).read_json("runs/r/sweep.json") == result


def test_rates_that_are_alike_in_six_digits_are_two_runs(tmp_path: Path) -> None:
    seen: list[str] = []

    def launch(request: RunRequest) -> RunResult:
        seen.append(request.run)
        return RunResult({"val_loss": 1.0}, up_to_date=False)

    open_corpus(str(tmp_path), create=True)
    rates = learning_rates("6e-4,6.0000001e-4")
    sweep(RunRequest(str(tmp_path), "b", "r", config()), rates, launch)
    assert seen == ["r-lr-0.0006", "r-lr-0.00060000001"]


def test_a_rate_that_diverges_is_no_end_of_the_sweep(corpus: Path, tmp_path: Path) -> None:
    """The highest of several rates is the one to diverge; what was found of the others counts."""
    shutil.copytree(corpus, tmp_path / "c")

    def asked(*rates: float) -> dict[str, Any]:
        settings = config(
            num_samples=0, max_steps=6, optimizer={"grad_clip": 0.0, "warmup_frac": 0.0}
        )
        return sweep(RunRequest(str(tmp_path / "c"), "b", "r", settings), rates, train)

    for _ in range(2):  # made again, it says the same
        result = asked(1e-3, 9e5)
        assert result["best"] == 1e-3
        assert [each["diverged"] for each in result["rates"]] == [False, True]
        assert result["rates"][1]["perplexity"] is None
    with pytest.raises(FatalError, match="every rate diverged.*lower"):
        asked(9e5)


def test_a_rate_is_evaluated_once_on_no_more_than_the_training_warrants(
    corpus_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[int] = []
    measure = loop.split_loss

    def count(model: Any, blocks: Any, *arguments: Any, **named: Any) -> Any:
        kept = list(blocks)
        evaluated.append(len(kept))
        return measure(model, kept, *arguments, **named)

    monkeypatch.setattr(loop, "split_loss", count)
    monkeypatch.setattr(job, "SMALLEST_SAMPLE", 4)
    settings = config(num_samples=0, max_steps=6)
    sweep(RunRequest(str(corpus_copy), "b", "r", settings), [1e-3], train)
    assert evaluated == [6]  # 6 steps of 8 blocks, of which an eighth
    lines = (corpus_copy / "runs/r-lr-0.001/metrics.jsonl").read_text()
    assert lines.count("val_loss") == 1


def test_a_rate_whose_evaluation_failed_is_not_called_diverged(tmp_path: Path) -> None:
    open_corpus(str(tmp_path), create=True)
    with pytest.raises(FatalError, match="r-lr-0.001: its evaluation failed"):
        sweep(
            RunRequest(str(tmp_path), "b", "r", config()), [1e-3],
            lambda request: RunResult({"val_loss": None}, up_to_date=False),
        )  # fmt: skip


def request(root: Path, **changes: Any) -> RunRequest:
    return RunRequest(
        str(root), "b", "r", config(num_samples=0, **changes), held_out_frac=HELD_OUT_FRAC
    )


def test_what_is_held_out_is_never_trained_on(corpus: Path) -> None:
    split = open_split(str(corpus), "b", "train")
    num_blocks = BlockStream(split, block_size=16, seed=0).num_blocks
    held = max(1, round(HELD_OUT_FRAC * num_blocks))
    steps = (num_blocks - held) // 8
    opened = open_job(open_store(str(corpus)), request(corpus, max_steps=steps))
    trained = {row.tobytes() for _ in range(steps) for row in opened.stream.next_batch(8)}
    blocks = list(opened.val_blocks())
    assert len(blocks) == held
    assert not trained & {block.tobytes() for block in blocks}
    with pytest.raises(InputError, match=f"set train.max_steps={steps} or less"):
        open_job(open_store(str(corpus)), request(corpus, max_steps=steps + 1))


def test_a_sweeps_run_is_not_the_run_itself(corpus: Path) -> None:
    plain = dataclasses.replace(request(corpus), held_out_frac=0.0)
    records = [
        open_job(open_store(str(corpus)), each).record["identity"]
        for each in (plain, request(corpus))
    ]
    assert records[0] != records[1]
    assert isinstance(request(corpus).config, TrainConfig)


def test_the_run_of_a_rate_differs_in_its_rates_alone() -> None:
    """Muon's own keeps its ratio, and no samples are written."""
    given = config(optimizer={"name": "muon", "learning_rate": 1e-3, "muon_learning_rate": 0.02})
    request = RunRequest("c", "b", "r", given)
    for rate, muon in ((1e-3, 0.02), (3e-3, 0.06)):
        found = _variant(request, rate).config
        assert found.optimizer.muon_learning_rate == pytest.approx(muon)
        assert (found.optimizer.learning_rate, found.num_samples) == (rate, 0)
