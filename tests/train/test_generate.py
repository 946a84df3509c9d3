"""Sampling: the cache changes nothing; temperature, top-k and top-p restrict as they say."""

from __future__ import annotations

import pytest
import torch

from train.config import RuntimeConfig
from train.distributed import join_world
from train.generate import Sampling, generate, sample
from train.model import GPT2
from train.shape import Shape

WORLD = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
GREEDY = Sampling(temperature=0)
SHAPE = Shape(n_layer=2, n_head=2, n_embd=16, block_size=24, vocab_size=30)


def model() -> GPT2:
    torch.manual_seed(0)
    net = GPT2(SHAPE)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(8)  # far from uniform, so that the choice hangs on the context
    return net.eval()


def continued(
    prompt: list[int], sampling: Sampling, *, num_tokens: int = 20, stop: int | None = None
) -> list[list[int]]:
    return generate(
        model(),
        prompt,
        num_samples=3,
        num_tokens=num_tokens,
        sampling=sampling,
        seed=1,
        stop=stop,
        world=WORLD,
    )


def test_cached_greedy_text_equals_recomputed_text() -> None:
    net, text = model(), [3, 4]
    for _ in range(20):
        text.append(int(net.next_logits(torch.tensor([text])).argmax()))
    assert continued([3, 4], GREEDY) == [text[2:]] * 3


def test_text_goes_on_past_the_context() -> None:
    assert [len(tokens) for tokens in continued([3, 4], Sampling(), num_tokens=70)] == [70] * 3
    assert [len(tokens) for tokens in continued([5] * 100, Sampling(), num_tokens=5)] == [5] * 3


def test_the_same_seed_gives_the_same_text_and_samples_differ() -> None:
    texts = continued([3], Sampling(top_k=0))
    assert texts == continued([3], Sampling(top_k=0))
    assert texts[0] != texts[1]


def test_text_stops_at_the_end_of_the_document() -> None:
    whole = continued([3], Sampling(top_k=0), num_tokens=20)
    stop = whole[0][4]
    stopped = continued([3], Sampling(top_k=0), num_tokens=20, stop=stop)
    assert stopped == [text[: text.index(stop)] if stop in text else text for text in whole]


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="endoftext"):
        continued([], Sampling())


@pytest.mark.parametrize(
    ("sampling", "possible"),
    [
        (Sampling(top_k=2), {1, 3}),
        (Sampling(top_k=0), {0, 1, 2, 3}),
        (Sampling(top_k=0, top_p=0.75), {1, 3}),
        (Sampling(top_k=0, top_p=0.01), {3}),
        (Sampling(top_k=0, temperature=0), {3}),
        (Sampling(top_k=0, temperature=0.02), {3}),
    ],
)
def test_only_allowed_tokens_are_drawn(sampling: Sampling, possible: set[int]) -> None:
    logits = torch.tensor([[0.1, 0.3, 0.1, 0.5]]).log().expand(400, 4)
    drawn = sample(logits, sampling, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == possible


def test_shares_drawn_are_the_probabilities() -> None:
    logits = torch.tensor([[0.2, 0.8]]).log().expand(10_000, 2)
    drawn = sample(logits, Sampling(), torch.Generator().manual_seed(0))
    assert drawn.float().mean().item() == pytest.approx(0.8, abs=0.02)
