"""GPT-2, all of it: the Transformer of Radford et al. 2019, section 2.3.

Layer norm before each sub-block and once after the last; GELU in its tanh form; the head shares the
token embedding; learned positions. Init: weights N(0, .02), positions N(0, .01), and the two
projections of each block into the residual stream scaled by 1/sqrt(number of residual layers = 2
n_layer), as in the paper (its released code leaves this scaling out).

Shape legend: B sequences, T positions, C = n_embd channels, H = n_head heads, D = C/H, V words, S =
T + length of the cache.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from train.data import on_device
from train.gpt2.document_attention import attend, document_bounds
from train.gpt2.loss import linear_cross_entropy
from train.gpt2.shape import Shape

LAYER_NORM_EPS = 1e-5
WEIGHT_STD = 0.02
POSITION_STD = 0.01


class KeyValueCache:
    """Keys and values of the positions already seen, one pair of (B, H, size, D) buffers a layer."""

    def __init__(
        self,
        shape: Shape,
        batch: int,
        device: torch.device,
        dtype: torch.dtype,
        size: int | None = None,
        padding: Tensor | None = None,
    ) -> None:
        """Allocate `size` positions (none: block_size).

        `padding`: (B,) int64, number of padding positions at the start of each row.
        """
        buffer = (
            shape.n_layer,
            batch,
            shape.n_head,
            size or shape.block_size,
            shape.n_embd // shape.n_head,
        )
        self.keys = torch.empty(buffer, device=device, dtype=dtype)
        self.values = torch.empty(buffer, device=device, dtype=dtype)
        self.padding = padding
        self.tokens = torch.empty((batch, 0), device=device, dtype=torch.int64)

    @property
    def length(self) -> int:
        """Positions held."""
        return self.tokens.shape[1]

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of `layer`, the new ones (B, H, T, D) behind the old: (B, H, S, D)."""
        end = self.length + key.shape[2]
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.n_head = shape.n_head
        self.dropout = dropout
        self.c_attn = nn.Linear(shape.n_embd, 3 * shape.n_embd)
        self.c_proj = nn.Linear(shape.n_embd, shape.n_embd)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        cache: KeyValueCache | None,
        layer: int,
        bounds: Tensor | None = None,
    ) -> Tensor:
        """Shapes: x (B, T, C), mask (B, 1, T, S) bool or None for plain causality.

        `bounds`, of documents, stands in for the mask. Result (B, T, C).
        """
        batch, length, channels = x.shape
        if bounds is not None:
            query, key, value = self.c_attn(x).view(batch, length, 3, self.n_head, -1).unbind(2)
            return self.c_proj(attend(query, key, value, bounds).flatten(2))

        query, key, value = (
            part.view(batch, length, self.n_head, channels // self.n_head).transpose(
                1, 2
            )  # (B, H, T, D)
            for part in self.c_attn(x).split(channels, dim=2)
        )

        if cache is not None:
            key, value = cache.append(layer, key, value)  # (B, H, S, D)
            if mask is None and length > 1 and cache.length:
                mask = _continuation_mask(length, key.shape[2], x.device)

        causal = mask is None and length > 1  # one query sees everything: no mask at all
        y = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=causal,
            dropout_p=self.dropout if self.training else 0.0,
        )
        y = y.transpose(1, 2).reshape(batch, length, channels)

        return F.dropout(self.c_proj(y), self.dropout, self.training)


class MLP(nn.Module):
    """The position-wise feed-forward layer, four times as wide inside."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.c_fc = nn.Linear(shape.n_embd, 4 * shape.n_embd)
        self.c_proj = nn.Linear(4 * shape.n_embd, shape.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, T, C) to (B, T, C)."""
        return F.dropout(
            self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")), self.dropout, self.training
        )


class Block(nn.Module):
    """One layer: attention, then MLP, each on a normalised copy and added to the residual stream."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(shape.n_embd, eps=LAYER_NORM_EPS)
        self.attn = Attention(shape, dropout)
        self.ln_2 = nn.LayerNorm(shape.n_embd, eps=LAYER_NORM_EPS)
        self.mlp = MLP(shape, dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        cache: KeyValueCache | None,
        layer: int,
        bounds: Tensor | None = None,
    ) -> Tensor:
        """Shapes: (B, T, C) to (B, T, C)."""
        x = x + self.attn(self.ln_1(x), mask, cache, layer, bounds)
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """The language model; `forward` gives the summed loss, `logits` the predictions."""

    def __init__(
        self,
        shape: Shape,
        *,
        dropout: float = 0.0,
        document_end: int | None = None,
        restart_positions: bool = False,
        activation_checkpointing: bool = False,
    ) -> None:
        """`document_end`: the id of <|endoftext|> to keep attention inside documents, None for plain causality.

        `restart_positions`: every document begins at position 0, for rows of whole documents.
        """
        super().__init__()
        self.shape = shape
        self.dropout = dropout
        self.document_end = document_end
        self.restart_positions = restart_positions
        self.activation_checkpointing = activation_checkpointing
        # True if rows of this model come with the bounds of their documents, without a dense mask.
        self.bounded = False
        self.wte = nn.Embedding(shape.vocab_size, shape.n_embd)
        self.wpe = nn.Embedding(shape.block_size, shape.n_embd)
        self.h = nn.ModuleList(Block(shape, dropout) for _ in range(shape.n_layer))
        self.ln_f = nn.LayerNorm(shape.n_embd, eps=LAYER_NORM_EPS)
        self.apply(_initialise)
        nn.init.normal_(self.wpe.weight, std=POSITION_STD)
        for name, parameter in self.named_parameters():
            # Two residual additions a layer: this keeps the stream's variance independent of depth
            # (GPT-2 paper, section 2.3).
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, std=WEIGHT_STD / math.sqrt(2 * shape.n_layer))

    def forward(
        self,
        tokens: Tensor,
        targets: Tensor,
        *,
        with_ignored: bool = False,
        bounds: Tensor | None = None,
    ) -> Tensor:
        """Summed cross-entropy of `targets` in nats, float32 scalar.

        Shapes: tokens and targets (B, T) int64, T at most block_size. Full logits are never in
        memory. `with_ignored`, or with `restart_positions`: targets below 0 are left out of the sum.
        `bounds`: of the documents in these rows (`document_attention.document_bounds`), for
        attention within them without a dense mask.
        """
        hidden = self.hidden(tokens, bounds=bounds)
        return linear_cross_entropy(
            hidden.flatten(0, 1),
            self.wte.weight,
            targets.flatten(),
            with_ignored=with_ignored or self.restart_positions,
        )

    def hidden(
        self, tokens: Tensor, cache: KeyValueCache | None = None, bounds: Tensor | None = None
    ) -> Tensor:
        """The last layer's normalised states (B, T, C) of tokens (B, T).

        A cache is extended by T positions.
        """
        start = cache.length if cache is not None else 0
        length = tokens.shape[1]
        positions = torch.arange(start, start + length, device=tokens.device)
        padding = cache.padding if cache is not None else None
        if padding is not None:
            positions = (positions - padding[:, None]).clamp(min=0)  # (B, T)
        if self.restart_positions and self.document_end is not None and cache is None:
            positions = document_positions(tokens, self.document_end)  # (B, T)
        x = self.wte(tokens) + self.wpe(positions)  # (B, T, C)
        x = F.dropout(x, self.dropout, self.training)
        seen = tokens if cache is None else torch.cat([cache.tokens, tokens], dim=1)  # (B, S)
        mask = None
        if self.document_end is not None and bounds is None:
            mask = document_mask(seen, self.document_end)[:, :, -length:]  # (B, 1, T, S)
        if padding is not None:
            behind = _padding_mask(padding, length, seen.shape[1])
            mask = behind if mask is None else mask & behind

        for layer, block in enumerate(self.h):
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, mask, cache, layer, bounds, use_reentrant=False)
            else:
                x = block(x, mask, cache, layer, bounds)

        if cache is not None:
            cache.tokens = seen
        return self.ln_f(x)

    def bounds(self, rows: np.ndarray, device: torch.device) -> Tensor | None:
        """Bounds of the documents in rows (B, T + 1), if this model takes them."""
        if not self.bounded or self.document_end is None:
            return None
        return on_device(document_bounds(rows, self.document_end), device)

    def logits(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Unnormalised log-probabilities (B, T, V) of each next token."""
        return F.linear(self.hidden(tokens, cache), self.wte.weight)

    def next_logits(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Unnormalised log-probabilities (B, V) of the token after the last."""
        return F.linear(self.hidden(tokens, cache)[:, -1], self.wte.weight)


def document_mask(tokens: Tensor, document_end: int) -> Tensor:
    """The attention mask: causal and within one document. (B, T) to (B, 1, T, T) bool.

    A document's <|endoftext|> still belongs to it. Literal markers in the text never carry this id,
    so the ids alone give the boundaries of `spans`.
    """
    ends = (tokens == document_end).cumsum(dim=1)
    # Shifted by one position, since an end belongs to the document before it.
    document = torch.cat([torch.zeros_like(ends[:, :1]), ends[:, :-1]], dim=1)  # (B, T)
    same = document[:, None, :, None] == document[:, None, None, :]
    return (
        same
        & torch.ones(
            tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device
        ).tril()
    )


def document_positions(tokens: Tensor, document_end: int) -> Tensor:
    """Position of each token in its document. Shapes: (B, T) to (B, T)."""
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    # Column where each document begins, 0 elsewhere; the running maximum carries it along the row.
    begins = torch.zeros_like(tokens)
    begins[:, 1:] = torch.where(tokens[:, :-1] == document_end, columns[1:], 0)
    return columns - begins.cummax(dim=1).values


def num_parameters(model: nn.Module) -> int:
    """Trained numbers; the tied head counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _continuation_mask(length: int, total: int, device: torch.device) -> Tensor:
    """(T, S) bool: the last `length` of `total` positions, each seeing itself and all before it."""
    return torch.ones(length, total, dtype=torch.bool, device=device).tril(total - length)


def _padding_mask(padding: Tensor, length: int, total: int) -> Tensor:
    """The mask (B, 1, T, S) bool: causal, without keys in the padding except the query's own.

    A query without any key would give NaN.
    """
    keys = torch.arange(total, device=padding.device)
    queries = keys[total - length :, None]  # (T, 1)
    real = (keys >= padding[:, None])[:, None, :]  # (B, 1, S)
    return ((keys <= queries) & (real | (keys == queries)))[:, None]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=WEIGHT_STD)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=WEIGHT_STD)
