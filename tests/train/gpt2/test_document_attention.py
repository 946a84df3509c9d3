"""Attention by the bounds of documents against the dense mask."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from corpus.errors import ConfigError
from tests.train.fakes import ALONE, config, job, metrics
from train.data import device_batch
from train.gpt2 import document_attention
from train.gpt2 import model as model_module
from train.gpt2.document_attention import chooses_varlen, document_bounds
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.loop import Trainer

SMALL = Shape(n_layer=2, n_head=2, n_embd=8, block_size=12, vocab_size=6)
END = 0

# Ids in a vocabulary of six: many documents, of one token too.
ROWS = st.integers(1, 4).flatmap(
    lambda count: st.lists(
        st.lists(st.integers(0, 5), min_size=13, max_size=13), min_size=count, max_size=count
    )
)


def gradients(
    rows: np.ndarray, bounds: Tensor | None, **options: Any
) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(0)
    model = GPT2(SMALL, document_end=END, **options)
    model.wte.weight.data *= 40  # so that a token more or less in sight matters
    packed = options.get("restart_positions", False)
    tokens, targets = device_batch(rows, torch.device("cpu"), document_end=END if packed else None)
    loss = model(tokens, targets, bounds=bounds)
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in model.parameters()]


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, restart=st.booleans(), checkpointed=st.booleans())
def test_loss_and_gradients_are_those_of_the_dense_mask(
    rows: list[list[int]], restart: bool, checkpointed: bool
) -> None:
    options = {"restart_positions": restart, "activation_checkpointing": checkpointed}
    array = np.array(rows)
    dense = gradients(array, None, **options)
    bounded = gradients(array, torch.from_numpy(document_bounds(array, END)), **options)
    torch.testing.assert_close(bounded[0], dense[0], rtol=1e-5, atol=1e-4)
    for one, other in zip(bounded[1], dense[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(rows=ROWS)
def test_bounds_have_one_length_and_every_document(rows: list[list[int]]) -> None:
    array = np.array(rows)
    bounds = document_bounds(array, END)
    documents = [
        text for row in array[:, :-1] for text in np.split(row, np.flatnonzero(row[:-1] == END) + 1)
    ]
    lengths = np.diff(bounds)
    assert lengths[: len(documents)].tolist() == [len(text) for text in documents]
    assert not lengths[len(documents) :].any()
    assert bounds.dtype == np.int32
    # Of a power of two times the usual: few lengths, so few compiled graphs.
    usual = len(rows) * 2 + 1
    assert np.log2(len(bounds) / usual) % 1 == 0


def test_the_kernel_of_gpus_gets_what_the_loop_over_documents_gets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch's kernel needs a GPU: here its arguments are read by the words of its documentation."""
    from torch.nn.attention import varlen

    def by_the_words(
        query: Tensor, key: Tensor, value: Tensor, starts: Tensor, key_starts: Tensor,
        longest: int, longest_key: int, *, window_size: tuple[int, int] = (-1, -1),
    ) -> Tensor:  # fmt: skip
        assert starts.dtype == torch.int32
        assert key_starts is starts
        result = torch.full_like(query, torch.nan)
        for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            assert stop - start <= longest == longest_key
            scores = torch.einsum("qhd,khd->hqk", query[start:stop], key[start:stop])
            scores = scores / query.shape[2] ** 0.5
            if window_size == (-1, 0):
                hidden = torch.ones(stop - start, stop - start, dtype=torch.bool).triu(1)
                scores = scores.masked_fill(hidden, -torch.inf)
            result[start:stop] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value[start:stop])
        return result

    monkeypatch.setattr(varlen, "varlen_attn", by_the_words)
    rows = np.random.default_rng(0).integers(0, 6, (3, 13))
    bounds = torch.from_numpy(document_bounds(rows, END))
    parts = torch.randn(3, 36, 2, 4).unbind()
    found = document_attention._by_kernel(*parts, bounds, 12)
    expected = document_attention._one_by_one(*parts, bounds, 12)
    torch.testing.assert_close(found, expected)


def not_called(*arguments: Any) -> Tensor:
    raise AssertionError


def test_a_run_trains_by_bounds_as_by_the_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps and evaluations of both have equal losses, and the first never makes a mask."""
    losses = []
    for choice in ("auto", "dense"):
        trainer = Trainer(
            job(
                tmp_path / choice,
                config(model={"document_mask": True}, runtime={"document_attention": choice}),
            ),
            ALONE,
        )
        if choice == "auto":
            monkeypatch.setattr(model_module, "document_mask", not_called)
        trainer.run()
        losses.append(
            [line.get("loss", line.get("val_loss")) for line in metrics(tmp_path / choice)]
        )
        monkeypatch.undo()
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "device", "dtype", "reason"),
    [
        ({"model": {"dropout": 0.1}}, "cpu", torch.float32, "train.model.dropout is 0.1"),
        ({"runtime": {"compile": True}}, "cpu", torch.float32, "cannot be compiled"),
        ({}, "cuda", torch.float32, "its kernel has no float32"),
    ],
)
def test_the_dense_mask_stays_where_bounds_cannot_be_used(
    changes: dict[str, Any], device: str, dtype: torch.dtype, reason: str
) -> None:
    world = dataclasses.replace(ALONE, device=torch.device(device), dtype=dtype)
    assert not chooses_varlen(config(**changes), world)
    runtime = {**changes.get("runtime", {}), "document_attention": "varlen"}
    with pytest.raises(ConfigError, match=reason):
        chooses_varlen(config(**{**changes, "runtime": runtime}), world)


@pytest.mark.parametrize(
    ("capability", "uses_bounds"), [((7, 5), False), ((8, 0), True), ((8, 6), True), ((9, 0), True)]
)
def test_the_kernel_is_used_from_ampere_on(
    capability: tuple[int, int], uses_bounds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    world = dataclasses.replace(ALONE, device=torch.device("cuda"), dtype=torch.bfloat16)
    assert chooses_varlen(config(model={"document_mask": True}), world) is uses_bounds
    if not uses_bounds:
        varlen = {"document_attention": "varlen"}
        with pytest.raises(ConfigError, match=r"compute capability 7\.5 is less than 8\.0"):
            chooses_varlen(config(model={"document_mask": True}, runtime=varlen), world)
