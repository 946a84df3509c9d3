"""Attention per document without a mask, for rows that hold several documents.

A dense mask computes all T x T pairs of a row and rules flash attention out. Here the rows of a
pass lie end to end, and `bounds` says where documents begin: only pairs within a document are
computed. torch's variable-length kernel does so on GPUs of compute capability 8.0 and newer; on
other devices each document is a call of its own. The dense mask stays the second opinion of tests
and of `make gpu-check`.

Shape legend: N = B x T tokens of a pass, H heads, D channels a head, M bounds.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from corpus.errors import ConfigError
from train.config import TrainConfig
from train.machine.distributed import World

# Flash attention needs Ampere or newer, and has no float32 kernel.
LEAST_CAPABILITY = (8, 0)
KERNEL_DTYPES = (torch.bfloat16, torch.float16)
# Documents are rarely shorter on average: their bounds then have one length, which keeps a compiled
# graph static.
EXPECTED_TOKENS = 64


def chooses_varlen(config: TrainConfig, world: World) -> bool:
    """True if attention per document runs without a dense mask.

    Raises: ConfigError if it is asked for where it cannot run.
    """
    wanted = config.runtime.document_attention
    if wanted == "dense":
        return False

    reason = _obstacle(config, world)
    if reason is not None and wanted == "varlen":
        raise ConfigError(
            f"train.runtime.document_attention = 'varlen': {reason}; set it to 'auto' or 'dense'"
        )
    return reason is None


def _obstacle(config: TrainConfig, world: World) -> str | None:
    """The reason against attention without a mask, None if there is none."""
    if config.model.dropout:
        return f"its kernel has no dropout, train.model.dropout is {config.model.dropout:g}"
    if world.device.type != "cuda":
        # Lengths become Python numbers there, so each batch would be a graph of its own.
        return "it cannot be compiled on this device" if config.runtime.compile else None
    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        return f"torch {torch.__version__} has no variable-length attention"
    if world.dtype not in KERNEL_DTYPES:
        return f"its kernel has no {str(world.dtype).removeprefix('torch.')}"
    found = torch.cuda.get_device_capability(world.device)
    if found < LEAST_CAPABILITY:
        return f"compute capability {found[0]}.{found[1]} is less than 8.0"

    return None


def document_bounds(rows: np.ndarray, document_end: int) -> np.ndarray:
    """Beginnings of the documents of rows laid end to end, and the number of tokens.

    A document's end still belongs to it, as in the dense mask; a row begins a document. The last
    bound is repeated (documents without tokens) up to a length that depends on the shape alone.
    Shapes: rows (B, T + 1) as the stream gives them; result (M,) int32.
    """
    tokens = rows[:, :-1]
    begins = np.ones(tokens.shape, bool)
    begins[:, 1:] = tokens[:, :-1] == document_end
    starts = np.flatnonzero(begins)

    size = len(tokens) * (-(-tokens.shape[1] // EXPECTED_TOKENS) + 1) + 1
    while size <= len(starts):
        size *= 2
    bounds = np.full(size, tokens.size, np.int32)
    bounds[: len(starts)] = starts
    return bounds


def attend(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor) -> Tensor:
    """Causal attention within each document.

    Shapes: query, key, value (B, T, H, D), bounds (M,) int32. Result (B, T, H, D).
    """
    batch, length, heads, channels = query.shape
    flat = (batch * length, heads, channels)
    kernel = _by_kernel if query.device.type == "cuda" else _one_by_one
    # A document is never longer than a row.
    result = kernel(
        query.reshape(flat), key.reshape(flat), value.reshape(flat), bounds, length
    )  # (N, H, D)
    return result.view(batch, length, heads, channels)


def _by_kernel(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int) -> Tensor:
    """All documents in one call. Shapes: (N, H, D) each, result the same."""
    from torch.nn.attention.varlen import varlen_attn

    result = varlen_attn(
        query, key, value, bounds, bounds, longest, longest, window_size=(-1, 0)
    )  # fmt: skip
    assert isinstance(result, Tensor)
    return result


def _one_by_one(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int) -> Tensor:
    """A call for each document. Shapes: (N, H, D) each, result the same."""
    lengths = [count for count in bounds.diff().tolist() if count]
    # Splitting has one backward pass for all parts; slices would each fill a gradient of N tokens.
    parts = zip(query.split(lengths), key.split(lengths), value.split(lengths), strict=True)
    return torch.cat([_document(*document) for document in parts])


def _document(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention of one document. Shapes: (L, H, D) each, result the same."""
    heads_first = (part.transpose(0, 1)[None] for part in (query, key, value))
    query, key, value = heads_first  # (1, H, L, D)
    result = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return result[0].transpose(0, 1)
