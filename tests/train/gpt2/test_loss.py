"""Chunked cross-entropy against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from train.gpt2 import loss as loss_module
from train.gpt2.loss import linear_cross_entropy


def inputs(
    rows: int, width: int, vocab: int, seed: int, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = (torch.randn(rows, width, generator=generator) * scale).requires_grad_()
    weight = torch.randn(vocab, width, generator=generator).requires_grad_()
    return hidden, weight, torch.randint(0, vocab, (rows,), generator=generator)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 40),
    width=st.integers(1, 9),
    vocab=st.integers(1, 30),
    chunk=st.integers(1, 50),
    scale=st.sampled_from([0.1, 1.0, 40.0]),
)
def test_loss_and_gradients_equal_the_plain_way(
    rows: int, width: int, vocab: int, chunk: int, scale: float
) -> None:
    hidden, weight, targets = inputs(rows, width, vocab, rows, scale)
    plain = F.cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    expected = torch.autograd.grad(plain * 0.5, (hidden, weight))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(loss_module.CHUNK_ROWS, "cpu", chunk)
        ours = linear_cross_entropy(hidden, weight, targets)
        gradients = torch.autograd.grad(ours * 0.5, (hidden, weight))
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-4)
    for ours_grad, plain_grad in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours_grad, plain_grad, rtol=1e-4, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 12),
    vocab=st.integers(1, 30),
    multiple=st.sampled_from([1, 8, 128]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    ignored=st.booleans(),
)
def test_a_padded_vocabulary_changes_neither_loss_nor_gradients(
    rows: int, vocab: int, multiple: int, dtype: torch.dtype, ignored: bool
) -> None:
    hidden, weight, targets = inputs(rows, 8, vocab, rows)
    if ignored:
        targets[::2] = -100
    found = []
    for padded_to in (1, multiple):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(loss_module.PADDED_TO, "cpu", padded_to)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                ours = linear_cross_entropy(hidden, weight, targets, with_ignored=ignored)
            found.append((ours, *torch.autograd.grad(ours, (hidden, weight))))
    for plain, other in zip(*found, strict=True):
        assert other.isfinite().all()
        torch.testing.assert_close(
            other, plain, rtol=2e-2, atol=2e-2 if dtype != torch.float32 else 1e-5
        )


def test_the_padding_of_gpt2s_vocabulary_is_nanogpts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss_module.PADDED_TO, "cpu", loss_module.PADDED_TO["cuda"])
    assert loss_module.padded(torch.ones(50257, 1), torch.bfloat16).shape == (50304, 1)


class LargestTensor(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numel = max(self.numel, result.numel())
        return result


def test_full_logits_never_lie_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss_module.CHUNK_ROWS, "cpu", 8)
    hidden, weight, targets = inputs(256, 4, 100, 0)
    with LargestTensor() as largest:
        linear_cross_entropy(hidden, weight, targets).backward()
    assert largest.numel <= max(8 * 100, 256 * 4)


def test_lower_precision_under_autocast_stays_close() -> None:
    hidden, weight, targets = inputs(64, 16, 50, 3)
    plain = F.cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = linear_cross_entropy(hidden, weight, targets)
    ours.backward()
    assert ours.dtype == torch.float32
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert ours.item() == pytest.approx(plain.item(), rel=2e-2)


@pytest.mark.parametrize("ignored", [-1, -100])
def test_only_targets_below_zero_are_left_out(ignored: int) -> None:
    """The first word of the vocabulary is a target like any other, also beside rows without one."""
    hidden, weight, _ = inputs(6, 5, 7, 3)
    targets = torch.tensor([0, ignored, 0, 6, ignored, 1])
    plain = F.cross_entropy(hidden @ weight.t(), targets, reduction="sum", ignore_index=ignored)
    expected = torch.autograd.grad(plain, (hidden, weight))
    ours = linear_cross_entropy(hidden, weight, targets, with_ignored=True)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    for found, wanted in zip(torch.autograd.grad(ours, (hidden, weight)), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
