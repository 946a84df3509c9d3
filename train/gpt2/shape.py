"""Hyperparameters of every tensor shape.

They are kept out of `model.py` so that settings load without torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """n_embd is a multiple of n_head.

    Block_size is the context in tokens; the head is tied to the embedding.
    """

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int


def flops_per_token(shape: Shape) -> int:
    """Floating-point operations of one trained token, forward and backward.

    Six per matrix weight (the tied head included, position embedding and look-up not) and 12 T C
    per layer for attention over the full context. Source: Chowdhery et al. 2022 (PaLM), appendix B.
    """
    weights = shape.n_layer * 12 * shape.n_embd**2 + shape.vocab_size * shape.n_embd
    return 6 * weights + 12 * shape.n_layer * shape.block_size * shape.n_embd
