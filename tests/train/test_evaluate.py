"""Scores against cases worked out by hand."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from corpus.errors import InputError
from train.config import RuntimeConfig
from train.distributed import join_world
from train.evaluate import Choice, lambada, read_lambada, read_winograd, token_log_probs, winograd
from train.load import LoadedModel
from train.model import GPT2
from train.shape import Shape
from train.validation import split_loss

WORLD = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
WORDS = ["<|endoftext|>", " a", " b", " the", " long", "er", " x", "a", "x"]


class WordTokenizer:
    """Ids of WORDS, longest match first; any other letter is an x."""

    def encode(self, text: str) -> list[int]:
        ids = []
        while text:
            word = max((word for word in WORDS if text.startswith(word)), key=len, default="x")
            ids.append(WORDS.index(word))
            text = text[len(word) :]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(WORDS[index] for index in ids)


class Bigram(GPT2):
    """A model whose logits are a table over the last token alone: column-wise log-probabilities given."""

    def __init__(self, table: dict[str, dict[str, float]]) -> None:
        size = len(WORDS)
        super().__init__(Shape(1, 1, size, 32, size))
        probabilities = torch.full((size, size), 1e-6)
        for before, row in table.items():
            for after, probability in row.items():
                probabilities[WORDS.index(before), WORDS.index(after)] = probability
        self.table = (probabilities / probabilities.sum(dim=1, keepdim=True)).log()
        self.wte.weight.data = torch.eye(size)

    def hidden(self, tokens: torch.Tensor, cache: object = None) -> torch.Tensor:
        return self.table[tokens]


def loaded(table: dict[str, dict[str, float]]) -> LoadedModel:
    return LoadedModel(Bigram(table), WordTokenizer(), 0, {}, {}, 1)


MODEL = loaded(
    {
        " a": {" b": 0.3, " the": 0.6, " x": 0.1},
        " b": {" long": 0.7, " b": 0.3},
        " long": {"er": 0.4, " a": 0.6},
        " x": {" x": 0.5, " a": 0.5},
    }
)


def test_three_accuracies_of_the_last_word_are_three_numbers() -> None:
    # " b" after " a": the stop word " the" is likelier, so only the filter finds it.
    stop = lambada(MODEL, ["x a b"], WORLD)
    assert (stop["word_greedy_accuracy"], stop["word_stopword_accuracy"], stop["last_token_accuracy"]) == (
        0,
        1,
        0,
    )
    assert stop["word_perplexity"] == pytest.approx(1 / 0.3, rel=1e-3)
    # " longer" after " b": its first token is found, its second is not.
    first = lambada(MODEL, ["x b longer"], WORLD)
    assert (first["word_greedy_accuracy"], first["word_stopword_accuracy"], first["last_token_accuracy"]) == (
        0,
        0,
        0,
    )
    assert first["word_perplexity"] == pytest.approx(1 / (0.7 * 0.4), rel=1e-3)
    # The last token of " longer" is right where the first is not.
    last = lambada(loaded({" a": {" b": 0.9, " long": 0.1}, " long": {"er": 1.0}}), ["x a longer"], WORLD)
    assert (last["word_greedy_accuracy"], last["word_stopword_accuracy"], last["last_token_accuracy"]) == (
        0,
        0,
        1,
    )


def test_perplexity_is_over_words() -> None:
    both = lambada(MODEL, ["x a b", "x b longer"], WORLD)
    assert both["passages"] == 2
    assert both["word_perplexity"] == pytest.approx(math.sqrt(1 / 0.3 / 0.28), rel=1e-3)


def test_partial_scoring_leaves_the_candidate_out() -> None:
    # " a" is likely at the start, " b" rare; what follows fits " b" better.
    model = loaded(
        {
            "<|endoftext|>": {"a": 1.0},
            "a": {" a": 0.98, " b": 0.02},
            " a": {" long": 0.3},
            " b": {" long": 0.7},
        }
    )
    model.model.table[WORDS.index(" a"), WORDS.index(" long")] = math.log(0.3)  # type: ignore[operator]
    scores = winograd(model, [Choice(("a a", "a b"), "long", 1)], WORLD)
    assert scores == {"schemas": 1, "full_accuracy": 0.0, "partial_accuracy": 1.0}


def test_log_probs_are_those_of_the_full_model() -> None:
    torch.manual_seed(0)
    net = GPT2(Shape(2, 2, 16, 8, 30)).eval()
    tokens = [3, 1, 4, 1, 5, 9]
    expected = torch.log_softmax(net.logits(torch.tensor([tokens[:-1]]))[0, -2:], dim=-1)
    torch.testing.assert_close(token_log_probs(net, tokens, 2, WORLD), expected)
    torch.testing.assert_close(  # of a longer text only the context is read
        token_log_probs(net, [7] * 20 + tokens[:1] + [2] * 8, 3, WORLD),
        token_log_probs(net, tokens[:1] + [2] * 8, 3, WORLD),
    )
    with pytest.raises(ValueError, match="6 tokens to score of 6"):
        token_log_probs(net, tokens, 6, WORLD)


def test_split_loss_is_the_mean_over_tokens_whatever_the_batching() -> None:
    torch.manual_seed(0)
    net = GPT2(Shape(2, 2, 16, 8, 30))
    text = np.random.default_rng(0).integers(0, 30, 8 * 5 + 4)
    blocks = [text[start : start + 9] for start in range(0, len(text) - 1, 8)]
    losses = [split_loss(net, blocks, 100, batch=batch, world=WORLD) for batch in (1, 2, 64)]
    logits = [net.logits(torch.tensor(block[None, :-1])) for block in blocks]
    nats = sum(
        torch.nn.functional.cross_entropy(each[0], torch.tensor(block[1:]), reduction="sum").item()
        for each, block in zip(logits, blocks, strict=True)
    )
    for loss in losses:
        assert loss.num_tokens == len(text) - 1
        assert loss.nats == pytest.approx(nats, rel=1e-5)
        assert loss.bits_per_byte == pytest.approx(nats / math.log(2) / 100, rel=1e-5)
    assert net.training


def test_files_are_read_plain_or_compressed_and_faults_named(tmp_path: Path) -> None:
    plain = tmp_path / "l.jsonl"
    plain.write_text('{"text": "a b"}\n{"text": "c d e"}\n')
    packed = tmp_path / "l.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_lambada(str(plain)) == read_lambada(str(packed)) == ["a b", "c d e"]
    for text, reader in (
        ('{"words": 1}', read_lambada),
        ("[1]", read_lambada),
        ("{", read_lambada),
        ("{}", read_winograd),
    ):
        plain.write_text(text)
        with pytest.raises(InputError, match="l.jsonl"):
            reader(str(plain))
    with pytest.raises(InputError, match="absent"):
        read_lambada(str(tmp_path / "absent"))


def test_real_sets_are_read_whole(shared: Path) -> None:
    folder = shared / "evalsets"
    assert len(read_lambada(str(folder / "lambada_openai/lambada_test.jsonl.gz"))) == 5153
    schemas = read_winograd(str(folder / "wsc273/winograd_wsc.jsonl.gz"))
    assert len(schemas) == 273
    assert {schema.gold for schema in schemas} == {0, 1}
