"""Settings: presets fill in what is not said; what decides a run is told apart from how it is run."""

from __future__ import annotations

import pytest

from corpus.config import load_config
from corpus.errors import ConfigError
from train.config import TrainConfig


def resolve(*sets: str) -> TrainConfig:
    return load_config(TrainConfig, "train", sets=[f"train.{each}" for each in sets])


def test_the_paper_is_the_default() -> None:
    config = resolve()
    shape = config.model.shape(50257)
    assert (shape.n_layer, shape.n_head, shape.n_embd, shape.block_size) == (12, 12, 768, 1024)
    assert config.resolved_batch_size == 512
    assert config.resolved_learning_rate == 6e-4


def test_a_number_given_overrides_the_presets() -> None:
    config = resolve(
        "model.preset=tiny", "model.n_layer=7", "optimizer.learning_rate=0.5", "batch_size=3"
    )
    assert config.model.shape(10).n_layer == 7
    assert config.model.shape(10).n_embd == 128
    assert (config.resolved_learning_rate, config.resolved_batch_size) == (0.5, 3)


@pytest.mark.parametrize(
    ("steps", "expected"), [(["max_steps=7"], 7), (["epochs=2.5"], 25), (["epochs=0.01"], 1)]
)
def test_steps_come_from_epochs_unless_given(steps: list[str], expected: int) -> None:
    assert resolve("batch_size=10", *steps).steps(num_blocks=100) == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.n_head=5", "n_embd = 768: not a multiple of n_head = 5"),
        ("model.dropout=1", "train.model.dropout = 1: .*less than 1"),
        ("optimizer.name=sgd", "train.optimizer.name = 'sgd': .*'adamw' or 'muon'"),
        ("model.layers=5", "unknown setting train.model.layers; known: .*train.model.preset"),
    ],
)
def test_a_bad_setting_names_itself_and_what_is_allowed(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(setting)


def test_how_a_run_is_computed_does_not_decide_it() -> None:
    assert resolve("runtime.micro_batch_size=1").decisive() == resolve().decisive()
    assert resolve("seed=2").decisive() != resolve().decisive()
    spelled_out = resolve("optimizer.learning_rate=0.0006", "model.n_layer=12", "batch_size=512")
    assert spelled_out.decisive() == resolve().decisive()
