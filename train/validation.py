"""Loss over a whole split in its own order: every token predicted once, the same figure on any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from train.data import device_batch, equal_lengths
from train.distributed import World
from train.model import GPT2


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


@torch.inference_mode()
def split_loss(
    model: GPT2, blocks: Iterable[np.ndarray], num_bytes: int, *, batch: int, world: World
) -> SplitLoss:
    """The loss of `model` over 1-d `blocks` (T + 1 tokens each, T at most block_size), shared by the ranks."""
    was_training = model.training
    model.eval()
    total = torch.zeros(2, dtype=torch.float64, device=world.device)
    for rows in equal_lengths(blocks, batch, world):
        tokens, targets = device_batch(rows, world.device)
        with world.autocast():
            total[0] += model(tokens, targets).double()
        total[1] += targets.numel()
    world.sum(total)
    model.train(was_training)
    nats, count = total.tolist()
    return SplitLoss(nats, round(count), num_bytes)
