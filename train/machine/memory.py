"""The largest micro-batch that a GPU's memory holds, by an estimate from the model's shape.

What a training step keeps per token and layer, in bytes for C channels, with products in bfloat16:
the residual stream twice (8 C), both layer norms' outputs (4 C), queries, keys and values (6 C),
attention's result (2 C) and its projection's input (2 C), the feed-forward layer before and after
GELU (16 C). `make gpu-check` prints the estimate beside the memory that was taken.
"""

from __future__ import annotations

import torch

from train.config import RuntimeConfig
from train.gpt2.loss import CHUNK_ROWS
from train.gpt2.shape import Shape

# Bytes per token, layer and channel: 38 as counted, and rounded up for masks and statistics.
ACTIVATION_BYTES = {torch.bfloat16: 42, torch.float32: 76}
# Only the input of a layer is kept; the rest is computed again, one layer at a time.
CHECKPOINTED_BYTES = 4
# Weights, gradients and two moments in float32, and a copy of the weights for the products.
STATE_BYTES, COPY_BYTES = 16, 2
# Of the free memory; the rest is for the allocator's gaps, NCCL's buffers and the samples.
USABLE_FRAC = 0.75
# Larger passes are no faster: 64 x 1,024 tokens fill the largest GPU.
LARGEST = 64


def step_bytes(
    shape: Shape, batch: int, dtype: torch.dtype, config: RuntimeConfig, num_shards: int = 1
) -> int:
    """Memory of a training step with `batch` sequences a pass, estimated.

    `num_shards`: ranks that share weights and moments.
    """
    weights = shape.n_layer * 12 * shape.n_embd**2 + shape.vocab_size * shape.n_embd
    per_layer = ACTIVATION_BYTES[dtype] * shape.n_embd
    if config.activation_checkpointing:
        per_token = shape.n_layer * CHECKPOINTED_BYTES * shape.n_embd + per_layer
    else:
        per_token = shape.n_layer * per_layer

    # Logits of a chunk in float32, their gradient, and the same in the products' type.
    head = CHUNK_ROWS["cuda"] * shape.vocab_size * 10 + 6 * shape.vocab_size * shape.n_embd
    state = STATE_BYTES * weights // num_shards + COPY_BYTES * weights
    return state + head + batch * shape.block_size * per_token


def fitting_micro_batch(
    shape: Shape, free_bytes: int, dtype: torch.dtype, config: RuntimeConfig, num_shards: int = 1
) -> int:
    """The largest power of two whose step fits into the memory, at least 1."""
    batch = LARGEST
    usable = USABLE_FRAC * free_bytes
    while batch > 1 and step_bytes(shape, batch, dtype, config, num_shards) > usable:
        batch //= 2

    return batch
