"""Cross-entropy over a large vocabulary without ever holding all logits.

With 8 x 1,024 tokens and 50,257 words the float32 logits and their gradient take 3.3 GB, more than
all the rest of a 124M step. A row's loss depends on the row's logits alone, so rows are taken in
chunks: logits, loss and both gradients of a chunk are computed in the forward pass, and only the
gradients are kept. The arithmetic cost stays the same (three matrix products), since nothing is
computed twice. The idea is known from Liger Kernel (Hsu et al. 2024).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Rows of logits in memory at once: enough for full matrix speed, few enough for caches (measured
# on 2 CPU cores).
CHUNK_ROWS = {"cpu": 512, "cuda": 2048}

# The vocabulary is padded to a multiple of this inside the products. Tensor cores need rows of 16
# bytes, and tiles are 128 wide: 50,257 words would take the slow kernels (nanoGPT found 25 % of a
# step). The copy that autocast makes of the weights has the padding, so that parameters, optimizer
# states, checkpoints and exports keep their size. On a CPU it is of no use.
PADDED_TO = {"cpu": 1, "cuda": 128}


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, with_ignored: bool = False
) -> Tensor:
    """Sum over rows of -log softmax(hidden @ weight.T)[target], float32 scalar in nats.

    Shapes: hidden (N, C), weight (V, C), targets (N,) int64 in [0, V).
    `with_ignored`: targets below 0 are left out.
    Under autocast the products run in the autocast type, sums and softmax in float32.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    result: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, with_ignored)
    return result


def padded(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The weights (V, C) in `dtype`, with rows of zeros up to the size that the device multiplies best."""
    multiple = PADDED_TO.get(weight.device.type, 1)
    missing = -weight.shape[0] % multiple
    if not missing:
        return weight.to(dtype)

    matrix = weight.new_zeros(weight.shape[0] + missing, weight.shape[1], dtype=dtype)
    matrix[: weight.shape[0]] = weight
    return matrix


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, with_ignored: bool
    ) -> Tensor:
        """Compute the loss together with the gradients for the backward pass."""
        rows = CHUNK_ROWS.get(hidden.device.type, 1024)
        need_hidden, need_weight, *_ = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        # Summed over chunks, so float32: bfloat16 would lose small terms.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if need_weight else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)

        with torch.autocast(hidden.device.type, enabled=False):
            num_words = weight.shape[0]
            matrix = padded(weight.detach(), hidden.dtype)  # (P, C), P at least V
            for start in range(0, hidden.shape[0], rows):
                part = slice(start, start + rows)
                logits = (hidden[part] @ matrix.t()).float()  # (rows, P)
                # Words that do not exist have no probability, hence no gradient.
                logits[:, num_words:] = -torch.inf
                wanted = targets[part, None]
                if with_ignored:
                    # Rows without a target get weight 0; any id stands in for theirs.
                    counted = (wanted >= 0).float()  # (rows, 1)
                    wanted = wanted.clamp(min=0)
                    logits[:, :num_words] *= counted
                label = logits.gather(1, wanted)
                highest = logits.amax(dim=1)
                grad = torch.softmax(logits, dim=1)
                # The highest probability is 1 / sum(exp(logits - highest)): the log-sum comes without
                # a second exp.
                log_sums = highest - grad.amax(dim=1).log()
                if with_ignored:
                    total += ((log_sums - label[:, 0]) * counted[:, 0]).sum()
                else:
                    total += log_sums.sum() - label.sum()
                if grad_hidden is None and grad_weight is None:
                    continue
                grad.scatter_add_(1, wanted, torch.full_like(label, -1.0))  # d loss / d logits
                if with_ignored:
                    grad *= counted
                grad = grad.to(hidden.dtype)
                if grad_hidden is not None:
                    grad_hidden[part] = grad @ matrix
                # addmm_ needs equal types; it saves a (V, C) temporary where it can be used.
                if grad_weight is not None and grad.dtype == torch.float32:
                    grad_weight.addmm_(grad[:, :num_words].t(), hidden[part])
                elif grad_weight is not None:
                    grad_weight += (grad.t() @ hidden[part])[:num_words]

        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """The kept gradients times the incoming one."""
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = outputs[0]
        return (
            grad_hidden * scale.to(grad_hidden.dtype) if grad_hidden is not None else None,
            (grad_weight * scale).to(ctx.weight_dtype) if grad_weight is not None else None,
            None,
            None,
        )
