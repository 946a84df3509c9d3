"""Log-probabilities of continuations, many at a time: the one question of all zero-shot tasks.

Requests are batched by length, longest first, padded on the right (attention is causal, so padding
is never read). Hidden states go through the head only at scored tokens: with GPT-2's vocabulary the
head is a third of the small model's work. The keys and values of a long context are computed once
for all its continuations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from train.gpt2.model import GPT2, KeyValueCache
from train.machine.distributed import World

# Tokens of a batch, padding included; at least one sequence.
BATCH_TOKENS = {"cpu": 2_048, "cuda": 32_768}
# Positions whose logits lie in memory at a time: 100 MB and 0.8 GB with GPT-2's vocabulary.
HEAD_ROWS = {"cpu": 512, "cuda": 4_096}
# Tokens of context that must be saved before sharing it is worth a pass of its own.
REUSE_TOKENS = {"cpu": 32, "cuda": 2_048}


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """Tokens to score behind a context of at least one token."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """One continuation: per token its log-probability and whether it is the most probable one."""

    log_probs: tuple[float, ...]
    greedy: tuple[bool, ...]
    first_allowed: bool
    """Whether its first token is the most probable one among those not banned."""

    @property
    def log_prob(self) -> float:
        """Of the whole continuation, in nats."""
        return sum(self.log_probs)


def score(
    model: GPT2, requests: Sequence[ScoringRequest], world: World, *, banned: Sequence[int] = ()
) -> list[Scored]:
    """Score every request, in their order.

    Only the last tokens of a too long context are read; a continuation longer than the model's
    context is scored in pieces. Raises: ValueError for an empty context or continuation.
    """
    size = model.shape.block_size
    pieces: list[ScoringRequest] = []
    counts = []

    for each in requests:
        if not each.context or not each.continuation:
            raise ValueError(
                f"{len(each.context)} tokens of context, {len(each.continuation)} to score; expected 1 or more of both"
            )
        text = each.context + each.continuation
        starts = range(len(each.context), len(text), size)
        pieces += [ScoringRequest(text[:start], text[start : start + size]) for start in starts]
        counts.append(len(starts))

    found = iter(_score_pieces(model, pieces, world, banned))
    return [_joined([next(found) for _ in range(count)]) for count in counts]


def _joined(pieces: Sequence[Scored]) -> Scored:
    return Scored(
        tuple(p for piece in pieces for p in piece.log_probs),
        tuple(g for piece in pieces for g in piece.greedy),
        pieces[0].first_allowed,
    )


@torch.inference_mode()
def _score_pieces(
    model: GPT2, requests: Sequence[ScoringRequest], world: World, banned: Sequence[int]
) -> list[Scored]:
    ban = torch.tensor(sorted(banned), dtype=torch.int64, device=world.device)
    found: dict[int, Scored] = {}
    alone: list[int] = []
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, each in enumerate(requests):
        groups.setdefault(each.context, []).append(place)

    for context, places in groups.items():
        longest = max(len(requests[place].continuation) for place in places)
        # Tokens of the shared context that are not read again; none below the limit of the device.
        saved = (len(context) - 1) * (len(places) - 1)
        fits = len(context) + longest - 1 <= model.shape.block_size
        if fits and len(context) > 1 and saved >= REUSE_TOKENS[world.device.type]:
            _score_shared(model, requests, places, world, ban, found)
        else:
            alone += places

    lengths = [_length(requests[place]) for place in alone]
    for batch in batches(lengths, BATCH_TOKENS[world.device.type]):
        _score_batch(model, requests, [alone[index] for index in batch], world, ban, found)

    return [found[place] for place in range(len(requests))]


def _length(request: ScoringRequest) -> int:
    return len(request.context) + len(request.continuation) - 1


def batches(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Places of sequences of these lengths, longest first, in groups of at most `limit` tokens with padding; at least one each."""
    found: list[list[int]] = []
    longest = 0
    # Longest first: the first member sets the width of its group.
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if found and (len(found[-1]) + 1) * longest <= limit:
            found[-1].append(place)
        else:
            found.append([place])
            longest = lengths[place]

    return found


def _score_batch(
    model: GPT2,
    requests: Sequence[ScoringRequest],
    places: list[int],
    world: World,
    ban: Tensor,
    found: dict[int, Scored],
) -> None:
    rows = [
        (requests[p].context + requests[p].continuation)[-model.shape.block_size - 1 :]
        for p in places
    ]
    width = max(map(len, rows)) - 1
    tokens = torch.tensor(
        [row[:-1] + (0,) * (width - len(row) + 1) for row in rows], device=world.device
    )
    with world.autocast():
        hidden = model.hidden(tokens)  # (B, T, C)
    starts = [
        len(row) - 1 - len(requests[p].continuation) for row, p in zip(rows, places, strict=True)
    ]
    _collect(model, hidden, starts, requests, places, ban, found)


def _score_shared(
    model: GPT2,
    requests: Sequence[ScoringRequest],
    places: list[int],
    world: World,
    ban: Tensor,
    found: dict[int, Scored],
) -> None:
    """Continuations of one context: all but its last token are read once, and kept for each of them."""
    context = requests[places[0]].context
    prefix = KeyValueCache(model.shape, 1, world.device, world.dtype)
    limit = max(1, BATCH_TOKENS[world.device.type] // len(context))

    with world.autocast():
        model.hidden(torch.tensor([context[:-1]], device=world.device), prefix)

    for first in range(0, len(places), limit):
        some = places[first : first + limit]
        rows = [context[-1:] + requests[p].continuation[:-1] for p in some]
        width = max(map(len, rows))
        tokens = torch.tensor(
            [row + (0,) * (width - len(row)) for row in rows], device=world.device
        )
        with world.autocast():
            hidden = model.hidden(tokens, _copies(prefix, model, len(some), world))
        # Outside of autocast, as for every other request: the head's products are float32.
        _collect(model, hidden, [0] * len(some), requests, some, ban, found)


def _copies(prefix: KeyValueCache, model: GPT2, count: int, world: World) -> KeyValueCache:
    """The cache of one sequence, for `count` of them."""
    cache = KeyValueCache(model.shape, count, world.device, world.dtype)
    cache.keys[:, :, :, : prefix.length] = prefix.keys[:, :, :, : prefix.length]
    cache.values[:, :, :, : prefix.length] = prefix.values[:, :, :, : prefix.length]
    cache.tokens = prefix.tokens.expand(count, -1)
    return cache


def _collect(
    model: GPT2,
    hidden: Tensor,
    starts: list[int],
    requests: Sequence[ScoringRequest],
    places: list[int],
    ban: Tensor,
    found: dict[int, Scored],
) -> None:
    """Read the scores off hidden states (B, T, C): row i's continuation is predicted from `starts[i]` on."""
    lengths = [len(requests[place].continuation) for place in places]
    states = torch.cat(
        [hidden[i, s : s + n] for i, (s, n) in enumerate(zip(starts, lengths, strict=True))]
    )
    targets = torch.tensor(
        [t for p in places for t in requests[p].continuation], device=hidden.device
    )
    heads = torch.zeros(len(targets), dtype=torch.bool, device=hidden.device)
    firsts = [sum(lengths[:i]) for i in range(len(lengths))]
    heads[firsts] = True
    log_probs, greedy, allowed = [], [], []
    # Logits are (rows, V) in float32, so rows are taken a few at a time.
    step = HEAD_ROWS[hidden.device.type]

    for begin in range(0, len(targets), step):
        here = slice(begin, begin + step)
        logits = F.linear(states[here], model.wte.weight.to(states.dtype)).float()
        right = logits.gather(1, targets[here, None])[:, 0]
        log_probs += (right - logits.logsumexp(dim=-1)).tolist()
        greedy += (logits.argmax(dim=-1) == targets[here]).tolist()
        if len(ban):
            rows = heads[here].nonzero()[:, 0]
            best = logits[rows].index_fill(1, ban, -torch.inf).argmax(dim=-1)
            allowed += (best == targets[here][rows]).tolist()

    for number, (place, first, length) in enumerate(zip(places, firsts, lengths, strict=True)):
        span = slice(first, first + length)
        first_allowed = allowed[number] if len(ban) else greedy[first]
        found[place] = Scored(tuple(log_probs[span]), tuple(greedy[span]), first_allowed)
