"""Parameter groups and schedules."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tests.train.fakes import config
from train.config import OptimizerConfig
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.optimizer import build_optimizers, parameter_groups, schedule, set_learning_rate

SMALL = Shape(n_layer=2, n_head=2, n_embd=16, block_size=12, vocab_size=40)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_each_parameter_is_in_one_group_and_only_matrices_decay(name: str) -> None:
    model = GPT2(SMALL)
    optimizers = build_optimizers(model, config(optimizer={"name": name}), torch.device("cpu"))
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    members = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(members) == sorted(id(parameter) for parameter in model.parameters())
    for group in groups:
        assert all(
            (parameter.ndim >= 2) == (group["weight_decay"] > 0) for parameter in group["params"]
        )


def test_hidden_matrices_are_those_of_the_blocks() -> None:
    hidden, embeddings, vectors = parameter_groups(GPT2(SMALL))
    assert len(hidden) == 2 * 4
    assert [tuple(matrix.shape) for matrix in embeddings] == [(40, 16), (12, 16)]
    assert all(vector.ndim == 1 for vector in vectors)


@given(
    num_steps=st.integers(1, 500),
    warmup=st.floats(0, 1),
    kind=st.sampled_from(["cosine", "wsd"]),
    final=st.floats(0, 1),
    decay=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
@example(num_steps=1, warmup=0.0, kind="wsd", final=0.0, decay=0.2)
@example(num_steps=1, warmup=0.0, kind="cosine", final=0.0, decay=0.2)
@example(num_steps=7, warmup=0.0, kind="wsd", final=0.5, decay=1.0)
@example(num_steps=2, warmup=0.5, kind="wsd", final=0.0, decay=1.0)
def test_schedule_rises_to_the_peak_then_falls_to_its_end(
    num_steps: int, warmup: float, kind: str, final: float, decay: float
) -> None:
    settings = OptimizerConfig(
        schedule=kind, warmup_frac=warmup, final_frac=final, decay_frac=decay
    )
    fracs = [schedule(step, num_steps, settings) for step in range(num_steps)]
    top = fracs.index(max(fracs))
    assert all(0 <= frac <= 1 for frac in fracs)
    assert all(a <= b + 1e-12 for a, b in pairwise(fracs[: top + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(fracs[top:]))
    assert max(fracs) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["cosine", "wsd"])
def test_the_last_step_has_the_final_share(kind: str) -> None:
    settings = OptimizerConfig(schedule=kind, final_frac=0.1)
    assert schedule(999, 1000, settings) == pytest.approx(0.1)
    assert schedule(500, 1000, settings) == pytest.approx(1.0 if kind == "wsd" else 0.559, abs=0.01)


@pytest.mark.parametrize(
    ("num_steps", "changes", "expected"),
    [
        (1, {"warmup_frac": 0}, [1.0]),
        (2, {"warmup_frac": 0}, [1.0, 0.0]),
        (5, {"warmup_frac": 0.4}, [0.5, 1.0, 1.0, 1.0, 0.0]),
        (4, {"warmup_frac": 0, "decay_frac": 1.0}, [1.0, 2 / 3, 1 / 3, 0.0]),
        (4, {"warmup_frac": 0, "decay_frac": 0.5}, [1.0, 1.0, 0.5, 0.0]),
        (4, {"warmup_frac": 1.0}, [0.25, 0.5, 0.75, 1.0]),
    ],
)
def test_wsd_step_by_step(num_steps: int, changes: dict[str, float], expected: list[float]) -> None:
    settings = OptimizerConfig(schedule="wsd", final_frac=0.0, **changes)
    fracs = [schedule(step, num_steps, settings) for step in range(num_steps)]
    assert fracs == pytest.approx(expected)


def test_learning_rate_is_a_share_of_each_groups_peak() -> None:
    optimizers = build_optimizers(
        GPT2(SMALL), config(optimizer={"name": "muon"}), torch.device("cpu")
    )
    set_learning_rate(optimizers, 0.5)
    assert [group["lr"] for each in optimizers for group in each.param_groups] == [
        0.01,
        0.005,
        0.005,
    ]
