"""Parameter groups, the update rule, and the learning rate of each step.

Weight decay acts on matrices (embeddings included) and never on biases or layer norms. The schedule
is a pure function of the step, so a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from train.config import OptimizerConfig, TrainConfig
from train.machine.distributed import choose_fused


def build_optimizers(
    model: nn.Module, config: TrainConfig, device: torch.device
) -> list[torch.optim.Optimizer]:
    """AdamW over all parameters; under muon, Muon over the hidden matrices and AdamW over the rest.

    Every group has a `peak` learning rate, scaled by `set_learning_rate`.
    """
    settings = config.optimizer
    peak = config.resolved_learning_rate
    hidden, matrices, vectors = parameter_groups(model)
    optimizers: list[torch.optim.Optimizer] = []

    if settings.name == "muon":
        muon_group = {"params": hidden, "peak": settings.muon_learning_rate}
        optimizers.append(
            torch.optim.Muon(
                [muon_group], lr=settings.muon_learning_rate, weight_decay=settings.weight_decay
            )
        )
    else:
        matrices = hidden + matrices

    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay, "peak": peak},
        {"params": vectors, "weight_decay": 0.0, "peak": peak},
    ]
    adamw = torch.optim.AdamW(
        groups,
        lr=peak,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=choose_fused(device),
    )

    return [*optimizers, adamw]


def parameter_groups(
    model: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """(matrices of the blocks, embedding matrices, vectors), each parameter once."""
    hidden: list[nn.Parameter] = []
    embeddings: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []

    for name, parameter in model.named_parameters():
        # Biases and layer norms are the only tensors of one dimension; `.h.` marks a block's weights,
        # with or without a wrapper's prefix.
        if parameter.ndim < 2:
            vectors.append(parameter)
        elif ".h." in f".{name}":
            hidden.append(parameter)
        else:
            embeddings.append(parameter)

    return hidden, embeddings, vectors


def schedule(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """Fraction of the peak learning rate at `step` in [0, num_steps), above 0 and at most 1.

    Linear warm-up, then a cosine to `final_frac` (Loshchilov & Hutter 2017), or wsd: constant, then
    linear to it. Some step always has the peak: a run of one step trains at the peak, not at the
    final rate.
    """
    warmup = math.ceil(config.warmup_frac * num_steps)
    if step < warmup:
        # From 1 / warmup, not 0: a first step without a rate would waste its batch.
        return (step + 1) / warmup

    if config.schedule == "cosine":
        progress = (step - warmup) / max(1, num_steps - 1 - warmup)
        return config.final_frac + (1 - config.final_frac) * 0.5 * (
            1 + math.cos(math.pi * min(1.0, progress))
        )

    # A decay over the whole run begins at the second step, so that the first one has the peak.
    decay = min(math.ceil(config.decay_frac * num_steps), num_steps - 1)
    left = num_steps - 1 - step
    if left >= decay:
        return 1.0

    return config.final_frac + (1 - config.final_frac) * left / decay


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], frac: float) -> None:
    """Set every group to `frac` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * frac
