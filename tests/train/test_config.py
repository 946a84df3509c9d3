"""Settings: presets fill in what is not said; what decides a run is told apart from how it is run."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from corpus.config import Section, load_config
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


# The least value that is allowed; None: every value above 0.
LEAST: dict[str, float | None] = {
    "model.n_layer": 1, "model.n_head": 1, "model.n_embd": 1, "model.block_size": 2, "model.dropout": 0,
    "optimizer.learning_rate": None, "optimizer.muon_learning_rate": None, "optimizer.beta1": 0, "optimizer.beta2": 0,
    "optimizer.eps": None, "optimizer.weight_decay": 0, "optimizer.grad_clip": 0, "optimizer.warmup_frac": 0,
    "optimizer.decay_frac": 0, "optimizer.final_frac": 0, "divergence.spike_nats": None, "divergence.window": 2,
    "divergence.max_skips": 1, "data.window": 0, "runtime.micro_batch_size": 1, "runtime.num_threads": 0,
    "runtime.log_interval": 1, "runtime.progress_interval_s": None, "runtime.keep_last": 1,
    "runtime.checkpoint_interval": 1, "runtime.rank_timeout_s": None, "runtime.token_cache_bytes": 1,
    "runtime.peak_tflops": None, "seed": 0, "batch_size": 1, "max_steps": 1, "epochs": None, "eval_interval": 1,
    "num_samples": 0, "sample_tokens": 1,
}  # fmt: skip


def section_of(key: str, value: float) -> Section:
    """The section of a setting alone, with the value."""
    section, _, name = key.rpartition(".")
    fields = TrainConfig.model_fields
    kind = fields[section].annotation if section else TrainConfig
    assert isinstance(kind, type)
    made: Section = kind(**{name: value})
    return made


@pytest.mark.parametrize("key", LEAST)
def test_least_values_of_settings(key: str) -> None:
    least = LEAST[key]
    name = key.rpartition(".")[2]
    allowed, refused = (1e-9, 0) if least is None else (least, least - 1)
    assert getattr(section_of(key, allowed), name) == allowed
    with pytest.raises(ValidationError, match="greater than"):
        section_of(key, refused)


@pytest.mark.parametrize(
    ("key", "allowed", "refused"),
    [
        ("model.dropout", 0.999, 1.0),
        ("optimizer.beta1", 0.999, 1.0),
        ("optimizer.beta2", 0.9999, 1.0),
        ("optimizer.warmup_frac", 1.0, 1.001),
        ("optimizer.decay_frac", 1.0, 1.001),
        ("optimizer.final_frac", 1.0, 1.001),
        ("seed", 2**63 - 1, 2**63),
    ],
)
def test_greatest_values_of_settings(key: str, allowed: float, refused: float) -> None:
    assert getattr(section_of(key, allowed), key.rpartition(".")[2]) == allowed
    with pytest.raises(ValidationError, match="less than"):
        section_of(key, refused)
