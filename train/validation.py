"""Loss over a whole split in its own order: every token predicted once, the same figure on any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from train.data import device_batch, shared_blocks
from train.distributed import World
from train.gpt2.model import GPT2
from train.stop_signal import StoppedError


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

    `interrupted` is asked before each batch, on all ranks. Raises: StoppedError where it says so.
    """
    was_training = model.training
    model.eval()
    # (nats, tokens); float64, since float32 counts exactly only up to 2**24 tokens.
    total = torch.zeros(2, dtype=torch.float64, device=world.device)

    try:
        for rows, counts in shared_blocks(blocks, batch, world):
            if interrupted is not None and interrupted():
                raise StoppedError
            tokens, targets = device_batch(rows, world.device)
            with world.autocast():
                loss = model(tokens, targets).double()
            # Ranks without a row of their own run a borrowed one, to keep collectives in step.
            if counts:
                total[0] += loss
                total[1] += targets.numel()
    finally:
        model.train(was_training)

    world.sum(total)
    nats, count = total.tolist()
    return SplitLoss(nats, round(count), num_bytes)
