"""The check of a GPU machine, as far as a CPU can run it."""

from __future__ import annotations

import json

import pytest
import torch

from tools import gpu_check
from tools.gpu_check import SyntheticStream, cases


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
