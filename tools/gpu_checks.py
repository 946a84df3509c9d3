"""Checks of `tools.gpu_check` beside losses and speed: code paths that no other check runs.

Each check compares the device with a second opinion: an uninterrupted run, the eager forward, a
document alone, float32.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

import numpy as np
import torch

from train.data import device_batch, on_device
from train.gpt2.document_attention import chooses_varlen, document_bounds
from train.gpt2.model import GPT2
from train.gpt2.parallel import is_compiled, uncompiled
from train.gpt2.sampling import Sampling, generate
from train.loop import Trainer
from train.machine.distributed import World
from train.machine.memory import step_bytes
from train.scores.logprobs import ScoringRequest, score


@dataclass(frozen=True)
class Limit:
    """The largest allowed value of a check."""

    largest: float
    meaning: str


LIMITS = {
    "resume": Limit(0, "largest difference of a weight after its checkpoint was opened again"),
    "mask": Limit(2e-2, "a document's loss behind another one, from its loss alone, nats a token"),
    "packed": Limit(2e-2, "the same with positions of its own, in a row of whole documents"),
    "varlen": Limit(2e-2, "loss of rows of documents by their bounds, from the dense mask's"),
    "varlen_grad": Limit(
        5e-2, "largest difference of a gradient by bounds, over the largest of its tensor"
    ),
    "padded": Limit(2e-2, "a pass with a padding row, from its loss without, nats a token"),
    "eager": Limit(2e-2, "loss of the training graph, from the eager forward's, nats a token"),
    "scores": Limit(0.1, "log-probabilities with bfloat16 products, from those with float32, nats"),
    "memory": Limit(1.0, "memory taken, over the estimate that chooses the micro-batch"),
    "graphs": Limit(1, "compiled graphs of the whole run"),
    "breaks": Limit(0, "breaks in them"),
}

# Least share of the peak of GPT-2 124M, eager. Estimates by arithmetic, none of them measured yet;
# they only find runs that are clearly wrong.
FLOORS = (("A100|A800", 0.2), ("H100|H800|H200|GH200", 0.15), ("B100|B200|GB200|B300|GB300", 0.1))


def mfu_floor(name: str) -> float:
    """The floor of a GPU by its name; 0 if none is known."""
    return next((floor for pattern, floor in FLOORS if re.search(rf"\b({pattern})\b", name)), 0.0)


def within(check: str, value: float) -> bool:
    """True if a check passed; a value that is no number has not."""
    return value <= LIMITS[check].largest


def sampler(model: GPT2, step: int, world: World) -> list[str]:
    """Short texts of several rows, past the end of their prompt."""
    texts = generate(
        model, [1, 2, 3], num_samples=2, num_tokens=16, sampling=Sampling(), seed=step,
        stop=None, world=world,
    )  # fmt: skip
    return [str(text) for text in texts]


def measure(trainer: Trainer, memory_gb: float) -> dict[str, float]:
    """All checks of a finished run of one process, by their names in LIMITS."""
    found = {
        "resume": _resume(trainer),
        **_documents(trainer),
        **_bounds(trainer),
        "padded": _padded(trainer),
        "scores": _scores(trainer),
    }
    if trainer.world.device.type == "cuda":
        config = trainer.job.config.runtime
        estimate = step_bytes(
            trainer.job.shape, trainer.micro_batch_size, trainer.world.dtype, config
        )
        found["memory"] = memory_gb * 1e9 / estimate
    if is_compiled(trainer.model):
        found["eager"] = _eager(trainer)
        found |= _graphs()

    return found


def _rows(trainer: Trainer, count: int) -> np.ndarray:
    rows: np.ndarray = trainer.job.stream.next_batch(count)
    return rows


def _loss(trainer: Trainer, rows: np.ndarray, **padding: int) -> float:
    """Mean loss of rows by the forward that trains."""
    world = trainer.world
    tokens, targets = device_batch(rows, world.device, num_padding=padding.get("num_padding", 0))
    with torch.no_grad(), world.autocast():
        loss = trainer.model(tokens, targets, with_ignored=bool(padding))
    return float(loss) / rows[:, 1:].size


def _resume(trainer: Trainer) -> float:
    """A second trainer opens the last checkpoint; its weights are the first one's."""
    again = Trainer(trainer.job, trainer.world)
    again.resume()
    pairs = zip(again.model.parameters(), trainer.model.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def _documents(trainer: Trainer) -> dict[str, float]:
    """A document in the middle of a row, with the mask, against the same document alone."""
    world, end = trainer.world, trainer.job.end_of_text
    half = trainer.job.shape.block_size // 2
    rows = _rows(trainer, 1)
    row = np.where(rows == end, 1, rows)[0]
    alone, whole = row[None, : half + 1], np.concatenate([row[:half], [end], row[:half]])[None]
    tokens, _ = device_batch(whole, world.device)
    found = {}

    for name, restart in (("mask", False), ("packed", True)):
        model = GPT2(trainer.job.shape, document_end=end, restart_positions=restart)
        model.load_state_dict(trainer.model.state_dict())
        model.to(world.device).eval()
        # Without positions of its own, the document alone is read from where it stands in the row.
        start = 0 if restart else half + 1
        with torch.no_grad(), world.autocast():
            masked = model.logits(tokens)[:, half + 1 :].float()
            count = masked.shape[1]
            plain, _ = device_batch(alone, world.device)
            expected = _from_position(model, plain[:, :count], start).float()
        targets = plain[:, 1:count]
        found[name] = _apart(masked[:, : count - 1], expected[:, : count - 1], targets)

    return found


def _bounds(trainer: Trainer) -> dict[str, float]:
    """Loss and gradients of rows of several documents, without a dense mask and with it."""
    world, end = trainer.world, trainer.job.end_of_text
    if not chooses_varlen(trainer.job.config, world):
        return {}

    rows = _rows(trainer, 2).copy()
    rows[0, 5::7], rows[1, trainer.job.shape.block_size // 3] = end, end
    tokens, targets = device_batch(rows, world.device, document_end=end)
    losses, gradients = [], []
    for bounds in (None, on_device(document_bounds(rows, end), world.device)):
        model = GPT2(trainer.job.shape, document_end=end, restart_positions=True)
        model.load_state_dict(trainer.model.state_dict())
        model.to(world.device)
        with world.autocast():
            loss = model(tokens, targets, bounds=bounds) / targets.numel()
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])

    apart = (
        float((one - other).abs().max() / one.abs().max().clamp(min=1e-12))
        for one, other in zip(*gradients, strict=True)
    )
    return {"varlen": abs(losses[0] - losses[1]), "varlen_grad": max(apart)}


def _from_position(model: GPT2, tokens: torch.Tensor, start: int) -> torch.Tensor:
    """Logits of a document alone, whose positions begin at `start`."""
    moved = GPT2(model.shape)
    moved.load_state_dict(model.state_dict())
    moved.to(tokens.device).eval()
    moved.wpe.weight.data = moved.wpe.weight.data.roll(-start, 0)
    return moved.logits(tokens)


def _apart(one: torch.Tensor, other: torch.Tensor, targets: torch.Tensor) -> float:
    """The difference of two mean losses."""
    losses = [
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        for logits in (one, other)
    ]
    return abs(float(losses[0] - losses[1]))


def _padded(trainer: Trainer) -> float:
    rows = _rows(trainer, 2)
    with uncompiled(trainer.model):
        return abs(_loss(trainer, rows) - _loss(trainer, rows, num_padding=1))


def _eager(trainer: Trainer) -> float:
    """The compiled forward and the eager one, of the shape and mode that were compiled."""
    tokens, targets = device_batch(_rows(trainer, trainer._pass_rows), trainer.world.device)
    with trainer.world.autocast():
        graph = float(trainer.model(tokens, targets).detach())
        with uncompiled(trainer.model):
            eager = float(trainer.model(tokens, targets).detach())
    return abs(graph - eager) / targets.numel()


def _scores(trainer: Trainer) -> float:
    """Log-probabilities in two types, with a shared context and without."""
    rows = _rows(trainer, 3).tolist()
    cut = trainer.job.shape.block_size // 2
    requests = [ScoringRequest(tuple(row[:cut]), tuple(row[cut:])) for row in rows]
    requests += [ScoringRequest(tuple(rows[0][:cut]), (place, 7)) for place in range(4)]
    worlds = [
        dataclasses.replace(trainer.world, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    ]
    trainer.model.eval()
    with uncompiled(trainer.model):
        one, other = (score(trainer.model, requests, world) for world in worlds)
    trainer.model.train()
    return max(
        abs(a - b)
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first.log_probs, second.log_probs, strict=True)
    )


def _graphs() -> dict[str, float]:
    from torch._dynamo.utils import counters

    breaks = sum(counters["graph_break"].values())
    return {"graphs": counters["stats"]["unique_graphs"], "breaks": breaks}
