"""Loss over a whole split in its own order: every token predicted once, the same figure on any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.data import device_batch, shared_blocks
from train.gpt2.model import GPT2
from train.gpt2.parallel import uncompiled
from train.machine.distributed import World
from train.machine.stop_signal import StoppedError


class EvaluationError(Exception):
    """An evaluation failed, and all ranks know it."""


@dataclass(frozen=True)
class SplitLoss:
    """Summed loss in nats over predicted tokens, and the UTF-8 bytes of the text they encode."""

    nats: float
    num_tokens: int
    num_bytes: int

    @property
    def nats_per_token(self) -> float:
        """Mean loss; nan without tokens."""
        return self.nats / self.num_tokens if self.num_tokens else math.nan

    @property
    def bits_per_byte(self) -> float:
        """Bits for a byte of text, the cost of each document's end included: comparable between tokenizers."""
        return self.nats / math.log(2) / self.num_bytes if self.num_bytes else math.nan


@torch.no_grad()  # not inference mode: FSDP would keep gathered weights that autograd refuses later
def split_loss(
    model: GPT2,
    blocks: Iterable[np.ndarray],
    num_bytes: int,
    *,
    batch: int,
    world: World,
    interrupted: Callable[[], object] | None = None,
) -> SplitLoss:
    """The loss of `model` over 1-d `blocks` (T + 1 tokens each, T at most block_size), shared by the ranks.

    `interrupted` is asked before each batch, on all ranks. A rank that fails keeps step with the
    others. Raises: StoppedError if `interrupted` says so; EvaluationError on all ranks if one failed.
    """
    was_training = model.training
    model.eval()
    # (nats, tokens, failed ranks); float64, since float32 counts exactly only up to 2**24 tokens.
    total = torch.zeros(3, dtype=torch.float64, device=world.device)
    failure: Exception | None = None

    try:
        for rows, counts in shared_blocks(blocks, batch, world):
            if interrupted is not None and interrupted():
                raise StoppedError
            if failure is not None:
                continue

            try:
                nats, count = _batch_loss(model, rows, world)
            except Exception as error:
                failure = error
                total[2] = 1
                continue

            # Ranks without a row of their own run a borrowed one, to keep collectives in step.
            if counts:
                total[0] += nats
                total[1] += count
    finally:
        model.train(was_training)

    world.sum(total)
    nats_sum, num_tokens, failed = total.tolist()
    if failed:
        cause = f"{type(failure).__name__}: {failure}" if failure else "see the other ranks"
        raise EvaluationError(
            f"validation failed on {failed:.0f} of {world.size} ranks ({cause})"
        ) from failure

    return SplitLoss(nats_sum, round(num_tokens), num_bytes)


def _batch_loss(model: GPT2, rows: np.ndarray, world: World) -> tuple[Tensor, int]:
    """The summed loss of rows (n, T + 1), and the number of their targets."""
    tokens, targets = device_batch(rows, world.device)
    bounds = model.bounds(rows, world.device)
    with uncompiled(model), world.autocast():
        return model(tokens, targets, bounds=bounds).double(), targets.numel()
