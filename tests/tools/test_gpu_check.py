"""The check of a GPU machine, as far as a CPU can run it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.train.fakes import ALONE, config, job
from tools import gpu_check, gpu_checks
from tools.gpu_check import SyntheticStream, cases
from train.gpt2 import model
from train.loop import Trainer


def test_every_way_to_train_is_compared_with_one_rank() -> None:
    assert [(case.name, case.ranks) for case in cases(8)] == [
        ("one", 1), ("ddp", 8), ("fsdp", 8), ("one compiled", 1),
    ]  # fmt: skip
    assert [case.name for case in cases(1)] == ["one", "one compiled"]


def test_ranks_share_the_synthetic_text() -> None:
    whole = SyntheticStream(16).next_batch(6)
    shares = [SyntheticStream(16).next_batch(6, rank, 3) for rank in range(3)]
    assert [row for share in shares for row in share.tolist()] == whole.tolist()
    assert all(0 <= token < gpu_check.VOCAB for token in whole.flatten().tolist())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main([]) == 2
    assert "no CUDA device here; --device cpu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--preset", "gpt3"], "invalid choice: 'gpt3' (choose from"),
        (["--steps", "0"], "0 is not a positive number"),
        (["--ranks", "4", "--batch-size", "2"], "--batch-size 2: less than the 4 ranks"),
    ],
)
def test_wrong_use_is_one_line_before_any_process(
    wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_check.main(["--device", "cpu", *wrong]) == 2
    found = capsys.readouterr()
    assert message in found.err
    assert found.err.count("\n") == 1
    assert not found.out


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = Trainer(job(tmp_path_factory.mktemp("run"), config(max_steps=8)), ALONE)
    trainer.run()
    trainer.model.wte.weight.data *= 4  # so that a token more or less in sight matters
    trainer.resume()
    return trainer


def test_a_sound_device_passes_all_checks(small_run: Trainer) -> None:
    found = gpu_checks.measure(small_run, 1.0)
    assert set(found) == {
        "resume", "mask", "packed", "varlen", "varlen_grad", "padded", "scores",
    }  # fmt: skip
    assert all(gpu_checks.within(name, value) for name, value in found.items())


def unmasked(tokens: torch.Tensor, document_end: int) -> torch.Tensor:
    length = tokens.shape[1]
    return torch.ones(len(tokens), 1, length, length, dtype=torch.bool).tril()


def unplaced(tokens: torch.Tensor, document_end: int) -> torch.Tensor:
    return torch.arange(tokens.shape[1]).expand(len(tokens), -1)


@pytest.mark.parametrize(
    ("name", "broken", "check"),
    [("document_mask", unmasked, "mask"), ("document_positions", unplaced, "packed")],
)
def test_a_device_that_computes_something_else_fails_its_check(
    small_run: Trainer, monkeypatch: pytest.MonkeyPatch, name: str, broken: Any, check: str
) -> None:
    monkeypatch.setattr(model, name, broken)
    small_run.model.wpe.weight.data *= 30
    small_run.model.wte.weight.data *= 30
    assert not gpu_checks.within(check, gpu_checks.measure(small_run, 1.0)[check])


def test_a_value_that_is_no_number_is_a_failure() -> None:
    assert not gpu_checks.within("scores", float("nan"))


@pytest.mark.parametrize(
    ("name", "floor"), [("NVIDIA H200", 0.15), ("NVIDIA A100-SXM4-80GB", 0.2), ("RTX A1000", 0)]
)
def test_the_floor_goes_by_the_gpu(name: str, floor: float) -> None:
    assert gpu_checks.mfu_floor(name) == floor


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_check_runs_on_a_cpu(capfd: pytest.CaptureFixture[str]) -> None:
    small = [
        "--device",
        "cpu",
        "--preset",
        "tiny",
        "--steps",
        "6",
        "--batch-size",
        "4",
        "--ranks",
        "2",
        "--no-compile",
    ]
    assert gpu_check.main([*small, "--json"]) == 0
    printed = capfd.readouterr().out.strip().splitlines()
    results = json.loads(printed[-1])
    assert list(results) == ["one", "ddp", "fsdp"]
    assert all(len(each["losses"]) == 6 and each["tokens_per_s"] > 0 for each in results.values())
    assert printed[-2].endswith("ok")
