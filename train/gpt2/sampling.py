"""Text from a model: the choice of the next token, and the loop around it.

Temperature, top-k (40, as the samples of the paper's figures) and top-p (Holtzman et al. 2020),
with cached keys and values, until <|endoftext|> or the requested length. Past the context the
oldest half is forgotten and the rest read again. Prompts of several lengths are continued together;
shorter ones are padded on the left with masked positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.gpt2.model import GPT2, KeyValueCache
from train.gpt2.parallel import is_sharded, uncompiled
from train.machine.distributed import World


@dataclass(frozen=True)
class Sampling:
    """Settings of the choice. temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 restrict nothing."""

    temperature: float = 1.0
    top_k: int = 40
    top_p: float = 1.0
    min_p: float = 0.0
    """Least probability of a token as a share of the most probable one's (Nguyen et al. 2024)."""


def sample(logits: Tensor, sampling: Sampling, generators: Sequence[torch.Generator]) -> Tensor:
    """One token id per row, drawn by the row's generator.

    Shapes: logits (B, V) float; result (B,) int64, on the CPU.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1).cpu()

    scaled, ids = logits.float() / sampling.temperature, None
    if 0 < sampling.top_k < logits.shape[-1]:
        scaled, ids = scaled.topk(sampling.top_k)  # in descending order, as sorted below
    elif sampling.top_p < 1:
        scaled, ids = scaled.sort(dim=-1, descending=True, stable=True)

    # Drawn on the CPU: generators of other devices give other numbers for the same seed.
    probs = torch.softmax(scaled, dim=-1).cpu()
    if sampling.top_p < 1:
        outside = (
            probs.cumsum(dim=-1) - probs >= sampling.top_p
        )  # the most probable is always inside
        probs = probs.masked_fill(outside, 0)

    if sampling.min_p > 0:
        probs = probs.masked_fill(probs < sampling.min_p * probs.amax(dim=-1, keepdim=True), 0)

    drawn = torch.stack(
        [
            torch.multinomial(row, 1, generator=each)
            for row, each in zip(probs, generators, strict=True)
        ]
    )

    return (drawn if ids is None else ids.cpu().gather(1, drawn))[:, 0]


def generate(
    model: GPT2,
    prompt: Sequence[int],
    *,
    num_samples: int,
    num_tokens: int,
    sampling: Sampling,
    seed: int,
    stop: int | None,
    world: World,
) -> list[list[int]]:
    """Continuations of one prompt, at most `num_tokens` long each, without the prompt and without `stop`.

    Sample i depends on (seed, i), not on how many there are. Raises: ValueError for an empty prompt
    (begin with <|endoftext|>).
    """
    return continue_prompts(
        model,
        [prompt] * num_samples,
        num_tokens=num_tokens,
        sampling=sampling,
        seeds=[(seed, number) for number in range(num_samples)],
        stop=stop,
        world=world,
    )


@torch.no_grad()  # not inference mode: see train.validation
def continue_prompts(
    model: GPT2,
    prompts: Sequence[Sequence[int]],
    *,
    num_tokens: int,
    sampling: Sampling,
    seeds: Sequence[tuple[int, ...]],
    stop: int | None,
    world: World,
    enough: Callable[[list[int]], bool] = lambda tokens: False,
) -> list[list[int]]:
    """A continuation of each prompt, at most `num_tokens` long, without the prompt and without `stop`.

    A row ends with `stop`, or where `enough` says so of its tokens; its draws depend on its seed
    alone. Past the context all rows forget at once. Raises: ValueError for an empty prompt (begin
    with <|endoftext|>).
    """
    if not all(prompts):
        raise ValueError("an empty prompt: begin with <|endoftext|>")

    generators = [_generator(seed) for seed in seeds]
    was_training = model.training
    model.eval()
    found: list[list[int]] = [[] for _ in prompts]
    going = set(range(len(prompts)))

    try:
        with uncompiled(model), world.autocast():
            for tokens in _next_tokens(model, prompts, sampling, generators, num_tokens, world):
                for row in sorted(going):
                    if tokens[row] != stop:
                        found[row].append(tokens[row])
                    if tokens[row] == stop or enough(found[row]):
                        going.remove(row)
                if not going:
                    break
    finally:
        # A training continues after samples that failed, and must have its dropout again.
        model.train(was_training)

    return found


def _generator(seed: tuple[int, ...]) -> torch.Generator:
    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    # Below 2**63: torch takes seeds as signed 64-bit integers.
    return torch.Generator().manual_seed(state % 2**63)


def _next_tokens(
    model: GPT2,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    generators: Sequence[torch.Generator],
    num_tokens: int,
    world: World,
) -> Iterator[list[int]]:
    """The next token of every row, `num_tokens` times."""
    context = model.shape.block_size
    width = min(context, max(map(len, prompts)))
    rows = [list(prompt[-width:]) for prompt in prompts]
    padding = torch.tensor([width - len(row) for row in rows], device=world.device)
    new = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=world.device)
    cache = _cache(model, padding, min(context, width + num_tokens), world)

    for _ in range(num_tokens):
        # Learnt positions can't be shifted, so the kept half is read again from position 0;
        # forgetting half at a time makes that rare.
        if cache.length + new.shape[1] > context:
            kept = torch.cat([cache.tokens, new], dim=1)
            new = kept[:, -max(1, context // 2) :]
            padding = (padding - (kept.shape[1] - new.shape[1])).clamp(min=0)
            cache = _cache(model, padding, context, world)
        drawn = sample(model.next_logits(new, cache), sampling, generators)
        if is_sharded(model):
            # All ranks run the model together, so they must agree on every token and on the end:
            # logits of two ranks may differ in their last bit.
            drawn = world.from_main(drawn)
        yield drawn.tolist()
        new = drawn[:, None].to(world.device)


def _cache(model: GPT2, padding: Tensor, size: int, world: World) -> KeyValueCache:
    some = padding if bool(padding.any()) else None
    return KeyValueCache(model.shape, len(padding), world.device, world.dtype, size, some)
