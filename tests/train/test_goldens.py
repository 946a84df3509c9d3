"""A model's output and the settings of its optimizers, which must be the same in every version."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.train.fakes import config
from train.checkpoints.checkpoint import Checkpoint, best
from train.gpt2.model import GPT2, KeyValueCache
from train.gpt2.shape import Shape
from train.loop import Trainer
from train.optimizer import build_optimizers
from train.scores import logprobs

LOGITS = [-0.12409, -0.27981, -0.30993, -0.20094, -0.00175, 0.19823, 0.30922, 0.28142, 0.12729, -0.08397, -0.25754]  # fmt: skip


def fixed_model() -> GPT2:
    model = GPT2(Shape(2, 2, 8, 6, 11)).eval()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            places = torch.arange(parameter.numel(), dtype=torch.float64)
            values = 0.3 * torch.sin(places * 0.7 + index)
            parameter.copy_(values.reshape(parameter.shape).float())
    return model


def test_the_output_of_a_fixed_model() -> None:
    """Another GELU, another place of a norm or another mask shows here; rounding does not."""
    model = fixed_model()
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    with torch.no_grad():
        logits = model.next_logits(tokens)[0].tolist()
        loss = float(model(tokens, torch.tensor([[2, 3, 4, 5, 6, 7]])))
    assert logits == pytest.approx(LOGITS, abs=2e-5)
    assert loss == pytest.approx(14.04015, abs=2e-4)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_optimizers_get_every_setting(name: str) -> None:
    settings = {"name": name, "beta1": 0.8, "beta2": 0.97, "eps": 1e-5, "weight_decay": 0.05}
    optimizers = build_optimizers(fixed_model(), config(optimizer=settings), torch.device("cpu"))
    adamw = next(each for each in optimizers if isinstance(each, torch.optim.AdamW))
    for group in adamw.param_groups:
        assert (group["betas"], group["eps"]) == ((0.8, 0.97), 1e-5)
    decays = {group["weight_decay"] for each in optimizers for group in each.param_groups}
    assert decays == {0.05, 0.0}


@pytest.mark.parametrize(
    ("losses", "step"),
    [([3.0, 1.0, 2.0], 2), ([1.0, 1.0, 2.0], 2), ([2.0, 1.0, 1.0], 3), ([None, 1.0, None], 2)],
)
def test_the_best_checkpoint_is_the_latest_of_equals(losses: list[float | None], step: int) -> None:
    found = best(
        [Checkpoint("x", {"step": n, "val_loss": loss}) for n, loss in enumerate(losses, 1)]
    )
    assert found is not None
    assert found.step == step


def test_nothing_evaluated_has_no_best() -> None:
    assert best([Checkpoint("x", {"step": 1, "val_loss": None})]) is None


def test_sizes_of_batches_of_scores_by_device() -> None:
    assert logprobs.BATCH_TOKENS == {"cpu": 2048, "cuda": 32768}
    assert logprobs.HEAD_ROWS == {"cpu": 512, "cuda": 4096}
    assert logprobs.REUSE_TOKENS == {"cpu": 32, "cuda": 2048}


@pytest.mark.parametrize(("grad_clip", "after"), [(0.0, 5.0), (1.0, 1.0), (10.0, 5.0)])
def test_gradients_are_clipped_at_the_limit_and_not_without_one(
    grad_clip: float, after: float
) -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[3.0, 4.0]])
    optimizer = SimpleNamespace(grad_clip=grad_clip)
    job = SimpleNamespace(config=SimpleNamespace(optimizer=optimizer))
    before = Trainer._clip(SimpleNamespace(model=model, job=job))  # type: ignore[arg-type]
    assert float(before) == 5.0
    assert float(model.weight.grad.norm()) == pytest.approx(after, rel=1e-5)


def test_padding_at_the_start_changes_no_row() -> None:
    """Rows of several lengths, prefilled and extended together, give what each gives alone."""
    model = fixed_model()
    rows = [[1, 2, 3, 4], [5, 6], [7]]
    width, more = 4, [[8], [9], [10]]
    padding = torch.tensor([width - len(row) for row in rows])
    cache = KeyValueCache(
        model.shape, len(rows), torch.device("cpu"), torch.float32, 6, padding=padding
    )
    with torch.no_grad():
        first = model.next_logits(
            torch.tensor([[0] * (width - len(row)) + row for row in rows]), cache
        )
        second = model.next_logits(torch.tensor(more), cache)
        for number, row in enumerate(rows):
            alone = model.logits(torch.tensor([row + more[number]]))[0]
            torch.testing.assert_close(first[number], alone[-2], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(second[number], alone[-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("restart", "document_end", "cached", "positions"),
    [
        (True, 0, False, [0, 1, 2, 0, 1]),
        (True, None, False, [0, 1, 2, 3, 4]),
        (False, 0, False, [0, 1, 2, 3, 4]),
        (True, 0, True, [0, 1, 2, 3, 4]),
    ],
)
def test_positions_restart_only_in_packed_rows(
    restart: bool, document_end: int | None, cached: bool, positions: list[int]
) -> None:
    """Generation counts on, as its cache has no beginning of the document."""
    model = GPT2(Shape(1, 1, 4, 6, 11), document_end=document_end, restart_positions=restart).eval()
    seen: list[torch.Tensor] = []
    model.wpe.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    cache = KeyValueCache(model.shape, 1, torch.device("cpu"), torch.float32) if cached else None
    with torch.no_grad():
        model.hidden(torch.tensor([[4, 5, 0, 6, 7]]), cache)
    assert seen[0].flatten().tolist() == positions
