"""Sampling: the cache changes nothing; temperature, top-k and top-p restrict as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.config import RuntimeConfig
from train.gpt2.model import GPT2
from train.gpt2.sampling import Sampling, continue_prompts, generate, sample
from train.gpt2.shape import Shape
from train.machine.distributed import join_world

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


def test_a_sample_is_the_same_however_many_are_drawn() -> None:
    many = continued([3], Sampling(top_k=0))
    for count in (1, 2):
        some = generate(
            model(), [3], num_samples=count, num_tokens=20, sampling=Sampling(top_k=0), seed=1, stop=None, world=WORLD,
        )  # fmt: skip
        assert some == many[:count]


@pytest.mark.parametrize("document_end", [None, 4])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(top_k=3)])
def test_prompts_of_several_lengths_are_continued_as_each_alone(
    sampling: Sampling, document_end: int | None
) -> None:
    """Also past the context of 24, where the oldest half is forgotten, and from prompts longer than it."""
    net = model()
    net.document_end = document_end
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 30, size).tolist() for size in (1, 7, 20, 21)]
    many = together(net, prompts, sampling)
    assert many == [text for prompt in prompts for text in together(net, [prompt], sampling)]
    assert [len(text) for text in many] == [4] * 4
    long = rng.integers(0, 30, 40).tolist()
    assert [len(text) for text in together(net, [long, [5, 6]], sampling, 30)] == [30] * 2
    both = together(net, [long, [5, 6]], sampling, 6)
    assert both[0] == together(net, [long[-24:]], sampling, 6)[0]
    assert both[1] == together(net, [[5, 6]], sampling, 6)[0]  # what it forgets is the filling


def together(
    net: GPT2, prompts: list[list[int]], sampling: Sampling, num_tokens: int = 4
) -> list[list[int]]:
    return continue_prompts(
        net, prompts, num_tokens=num_tokens, sampling=sampling, seeds=[(7,)] * len(prompts), stop=None, world=WORLD
    )  # fmt: skip


def test_a_row_that_has_enough_ends_and_the_others_go_on() -> None:
    net = model()
    whole = together(net, [[3], [4]], GREEDY, 9)
    ended = continue_prompts(
        net, [[3], [4]], num_tokens=9, sampling=GREEDY, seeds=[(0,)] * 2, stop=None, world=WORLD,
        enough=lambda tokens: tokens == whole[0][:3],
    )  # fmt: skip
    assert ended == [whole[0][:3], whole[1]]


def test_a_sampler_that_fails_gives_the_model_its_dropout_back() -> None:
    """The training reports failed samples and continues."""
    net = model().train()

    def fail(tokens: list[int]) -> bool:
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        continue_prompts(
            net, [[3]], num_tokens=2, sampling=GREEDY, seeds=[(0,)], stop=None, world=WORLD, enough=fail,
        )  # fmt: skip
    assert net.training


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
    drawn = sample(logits, sampling, [torch.Generator().manual_seed(0)] * 400)
    assert set(drawn.tolist()) == possible


def test_shares_drawn_are_the_probabilities() -> None:
    logits = torch.tensor([[0.2, 0.8]]).log().expand(10_000, 2)
    drawn = sample(logits, Sampling(), [torch.Generator().manual_seed(0)] * 10_000)
    assert drawn.float().mean().item() == pytest.approx(0.8, abs=0.02)


def test_min_p_draws_only_from_tokens_near_the_most_probable() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    for min_p, expected in ((0.0, {0, 1, 2, 3}), (0.25, {0, 1, 2}), (0.5, {0, 1}), (1.0, {0})):
        generator = torch.Generator().manual_seed(0)
        drawn = {
            int(sample(logits, Sampling(top_k=0, min_p=min_p), [generator])) for _ in range(400)
        }
        assert drawn == expected


def drawn(logits: torch.Tensor, sampling: Sampling) -> list[int]:
    return sample(
        logits, sampling, [torch.Generator().manual_seed(n) for n in range(len(logits))]
    ).tolist()


def test_settings_that_restrict_nothing_change_no_draw() -> None:
    """Not even the order in which tokens are drawn from: texts of a seed stay as they are."""
    logits = torch.tensor([[0.3, 2.0, -1.0, 1.0]]).expand(60, 4)
    plain = [
        int(torch.multinomial(row.softmax(-1), 1, generator=torch.Generator().manual_seed(n)))
        for n, row in enumerate(logits)
    ]
    for sampling in (Sampling(top_k=0), Sampling(top_k=4), Sampling(top_k=9), Sampling(top_k=0, top_p=1.0, min_p=0.0)):  # fmt: skip
        assert drawn(logits, sampling) == plain
    assert drawn(logits, Sampling(top_k=3)) != plain


@pytest.mark.parametrize(
    ("top_p", "possible"), [(0.25, {0}), (0.26, {0, 1}), (0.5, {0, 1}), (0.51, {0, 1, 2}), (0.76, {0, 1, 2, 3})]
)  # fmt: skip
def test_the_last_token_of_top_p_is_the_one_that_reaches_it(
    top_p: float, possible: set[int]
) -> None:
    """Of four equal ones, each has exactly a quarter."""
    logits = torch.zeros(200, 4)
    assert set(drawn(logits, Sampling(top_k=0, top_p=top_p))) == possible


def test_a_token_at_min_p_itself_is_drawn() -> None:
    """Two equal ones, each as probable as the most probable."""
    assert set(drawn(torch.zeros(200, 2), Sampling(top_k=0, min_p=1.0))) == {0, 1}


@pytest.mark.parametrize("num_tokens", [22, 23])
def test_a_context_is_used_to_its_last_place(num_tokens: int) -> None:
    """24 places: the text of two tokens and 22 more is read whole for the last one."""
    net, text = model(), [3, 4]
    for _ in range(num_tokens):
        text.append(int(net.next_logits(torch.tensor([text])).argmax()))
    assert continued([3, 4], GREEDY, num_tokens=num_tokens) == [text[2:]] * 3
