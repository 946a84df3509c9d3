"""GPT-2: sizes, initialisation, causality, document mask, cache."""

from __future__ import annotations

import math

import pytest
import torch

from train.config import PRESETS, ModelConfig
from train.gpt2.model import GPT2, KeyValueCache, document_mask, num_parameters
from train.gpt2.shape import Shape

SMALL = Shape(n_layer=3, n_head=2, n_embd=16, block_size=12, vocab_size=40)
GPT2_VOCAB = 50257


def model(**options: object) -> GPT2:
    torch.manual_seed(0)
    return GPT2(SMALL, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
        ("tiny", 793_344 + 8_192 * 128 + 256 * 128),
    ],
)
def test_presets_have_the_published_number_of_parameters(preset: str, expected: int) -> None:
    vocab = 8_192 if preset == "tiny" else GPT2_VOCAB
    with torch.device("meta"):
        assert num_parameters(GPT2(ModelConfig(preset=preset).shape(vocab))) == expected


def test_every_preset_is_a_shape() -> None:
    assert all(
        ModelConfig(preset=name).shape(100).n_embd % PRESETS[name].n_head == 0 for name in PRESETS
    )


def test_initial_weights_have_the_papers_spread() -> None:
    torch.manual_seed(0)
    shape = Shape(n_layer=8, n_head=4, n_embd=128, block_size=256, vocab_size=1000)
    for name, weight in GPT2(shape).named_parameters():
        if name.endswith("bias"):
            assert not weight.any()
        elif "ln_" in name:
            assert bool((weight == 1).all())
        else:
            expected = 0.01 if "wpe" in name else 0.02 / math.sqrt(16) if "c_proj" in name else 0.02
            assert weight.std().item() == pytest.approx(expected, rel=0.03)
    untrained = GPT2(shape)(torch.zeros(1, 64, dtype=torch.int64), torch.arange(64)[None])
    assert untrained.item() / 64 == pytest.approx(math.log(1000), abs=0.3)


def test_no_token_sees_a_later_one() -> None:
    tokens = torch.randint(0, 40, (2, 12), generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 40
    before, after = model().logits(tokens), model().logits(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_document_mask_hides_earlier_documents() -> None:
    tokens = torch.tensor([[5, 6, 0, 7, 8, 9, 0, 3]])
    other = torch.tensor([[1, 2, 0, 7, 8, 9, 0, 3]])
    masked, plain = model(document_end=0), model()
    assert torch.equal(masked.logits(tokens)[:, 3:], masked.logits(other)[:, 3:])
    assert not torch.equal(plain.logits(tokens)[:, 3:], plain.logits(other)[:, 3:])
    visible = document_mask(tokens, 0)[0, 0].int().tolist()
    assert visible[2] == [1, 1, 1, 0, 0, 0, 0, 0]  # the end belongs to its document
    assert visible[4] == [0, 0, 0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("document_end", [None, 0])
def test_cached_logits_equal_recomputed_ones(document_end: int | None) -> None:
    net = model(document_end=document_end)
    tokens = torch.tensor([[5, 6, 0, 7, 8, 9, 0, 3, 4, 1], [1, 0, 3, 4, 5, 6, 7, 8, 0, 2]])
    whole = net.logits(tokens)
    cache = KeyValueCache(SMALL, 2, torch.device("cpu"), torch.float32)
    pieces = [net.logits(piece, cache) for piece in tokens.split([4, 1, 3, 1, 1], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-5)


def test_activation_checkpointing_changes_no_gradient() -> None:
    tokens = torch.randint(0, 40, (2, 13), generator=torch.Generator().manual_seed(1))
    gradients = []
    for option in (False, True):
        net = model(activation_checkpointing=option).train()
        net(tokens[:, :-1], tokens[:, 1:]).backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)
