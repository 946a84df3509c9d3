"""Tasks against cases worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus.evaluation_sets.detokenize import ONE_BILLION_WORDS, PTB, WIKITEXT, Detokenizer
from train import evaluate
from train.checkpoints.load import LoadedModel
from train.config import RuntimeConfig
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.machine.distributed import join_world
from train.scores import logprobs
from train.scores.logprobs import ScoringRequest, score
from train.scores.score_set import TASKS
from train.scores.tasks import choices, generation
from train.scores.tasks.language import (
    ScoredText,
    articles,
    entries_of,
    tokenized,
    windows,
    words_with_ends,
)
from train.scores.tasks.language import figures as language_figures
from train.scores.tasks.language import outcomes as language_outcomes
from train.scores.tasks.task import Options
from train.validation import split_loss

WORLD = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
WORDS = ["<|endoftext|>", " a", " b", " the", " long", "er", " x", "a", "x", "\n", "."]
OPTIONS = Options()


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
    """A model whose logits are a table over the last token alone: row-wise probabilities given."""

    def __init__(self, table: dict[str, dict[str, float]]) -> None:
        size = len(WORDS)
        super().__init__(Shape(1, 1, size, 64, size))
        probabilities = torch.full((size, size), 1e-6)
        for before, row in table.items():
            for after, probability in row.items():
                probabilities[WORDS.index(before), WORDS.index(after)] = probability
        self.table = (probabilities / probabilities.sum(dim=1, keepdim=True)).log()
        self.wte.weight.data = torch.eye(size)

    def hidden(self, tokens: torch.Tensor, cache: Any = None) -> torch.Tensor:
        if cache is not None:
            cache.tokens = torch.cat([cache.tokens, tokens], dim=1)
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


def run(
    name: str, data: str, model: LoadedModel = MODEL, options: Options = OPTIONS
) -> dict[str, Any]:
    task = TASKS[name]
    entries = task.read(data.encode(), model, options)
    rows = task.outcomes(model, entries, WORLD, options)
    assert len(rows) == len(entries)
    return {"rows": rows, **task.figures(rows)}


# --- the engine ----------------------------------------------------------------------------------------------------


def _slow(net: GPT2, request: ScoringRequest) -> list[float]:
    tokens = (*request.context, *request.continuation)[-net.shape.block_size - 1 :]
    log_probs = torch.log_softmax(net.logits(torch.tensor([tokens[:-1]]))[0], dim=-1).detach()
    count = len(request.continuation)
    return [float(log_probs[-count + i, t]) for i, t in enumerate(request.continuation)]


@pytest.mark.parametrize("document_end", [None, 3])
def test_scores_are_those_of_the_model_one_by_one(
    document_end: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding, batches, shared contexts and contexts too long change nothing."""
    torch.manual_seed(0)
    net = GPT2(Shape(2, 2, 16, 24, 30), document_end=document_end).eval()
    rng = np.random.default_rng(1)
    draw = lambda size: tuple(rng.integers(0, 30, size).tolist())  # noqa: E731
    shared = [draw(10), draw(15)]
    requests = [
        ScoringRequest(draw(rng.integers(1, 40)), draw(rng.integers(1, 12))) for _ in range(30)
    ]
    requests += [ScoringRequest(shared[i % 2], draw(rng.integers(1, 9))) for i in range(9)]
    requests += [ScoringRequest(draw(1), draw(24))]
    rng.shuffle(requests)  # type: ignore[arg-type]
    monkeypatch.setattr("train.scores.logprobs.HEAD_ROWS", {"cpu": 7})
    # A batch of fewer tokens than a shared context still takes one continuation.
    for reuse, batch_tokens in ((1, 60), (10_000, 60), (1, 9)):
        monkeypatch.setattr("train.scores.logprobs.REUSE_TOKENS", {"cpu": reuse})
        monkeypatch.setattr("train.scores.logprobs.BATCH_TOKENS", {"cpu": batch_tokens})
        for request, found in zip(
            requests, score(net, requests, WORLD, banned=[2, 5]), strict=True
        ):
            expected = _slow(net, request)
            assert found.log_probs == pytest.approx(expected, abs=1e-5)
            assert found.log_prob == pytest.approx(sum(expected), abs=1e-4)
    with pytest.raises(ValueError, match="expected 1 or more"):
        score(net, [ScoringRequest((), (1,))], WORLD)


def test_a_continuation_longer_than_the_context_is_scored_in_pieces() -> None:
    torch.manual_seed(0)
    net = GPT2(Shape(1, 2, 16, 8, 30)).eval()
    text = tuple(range(20))
    pieces = [
        ScoringRequest(text[:2], text[2:10]),
        ScoringRequest(text[:10], text[10:18]),
        ScoringRequest(text[:18], text[18:]),
    ]
    expected = [p for each in pieces for p in _slow(net, each)]
    (found,) = score(net, [ScoringRequest(text[:2], text[2:])], WORLD)
    assert found.log_probs == pytest.approx(expected, abs=1e-5)


def test_greedy_and_banned_are_told_per_token() -> None:
    one, two = score(
        MODEL.model,
        [ScoringRequest((1,), (3, 0)), ScoringRequest((1,), (2,))],
        WORLD,
        banned=[WORDS.index(" the")],
    )
    assert one.greedy[0]
    assert not one.first_allowed
    assert not two.greedy[0]
    assert two.first_allowed


# --- LAMBADA -------------------------------------------------------------------------------------------------------


def _passages(*texts: str) -> str:
    return "\n".join(json.dumps({"text": text}) for text in texts)


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        # " b" after " a": the stop word " the" is likelier, so only the filter finds it.
        ("x a b", (0, 1, 0)),
        # " longer" after " b": its first token is found, its second is not.
        ("x b longer", (0, 0, 0)),
        ("x b long", (1, 1, 1)),
    ],
)
def test_three_accuracies_of_the_last_word_are_three_numbers(
    text: str, hits: tuple[int, int, int]
) -> None:
    found = run("lambada", _passages(text))
    assert (
        tuple(found[f"{name}_accuracy"] for name in ("word_greedy", "word_stopword", "last_token"))
        == hits
    )


def test_the_last_token_may_be_right_where_the_first_is_not() -> None:
    model = loaded({" a": {" b": 0.9, " long": 0.1}, " long": {"er": 1.0}})
    found = run("lambada", _passages("x a longer"), model)
    assert (found["word_greedy_accuracy"], found["last_token_accuracy"]) == (0, 1)


def test_the_perplexity_of_lambada_is_over_words() -> None:
    found = run("lambada", _passages("x a b", "x b longer"))
    assert found["entries"] == 2
    assert found["word_perplexity"] == pytest.approx(math.sqrt(1 / 0.3 / 0.28), rel=1e-3)


# --- choices -------------------------------------------------------------------------------------------------------


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
    line = json.dumps({"context_options": ["a a", "a b"], "continuation": "long", "gold": 1})
    found = run("wsc273", line, model)
    assert (found["entries"], found["full_accuracy"], found["partial_accuracy"]) == (1, 0, 1)


def test_cbt_scores_the_choice_with_the_rest_of_the_sentence() -> None:
    """` b` is likelier after ` x`, but only ` a` may be followed by ` long`."""
    story = "".join(f"{n} x x\n" for n in range(1, 21))
    model = loaded({" x": {" b": 0.6, " a": 0.4}, " a": {" long": 1.0}, " b": {" b": 1.0}})
    found = run("cbt_cn", f"{story}21 a x XXXXX long\ta\t\ta|b\n\n" * 2, model)
    assert (found["entries"], found["sentence_accuracy"], found["choice_accuracy"]) == (2, 1, 0)
    model.model.table[WORDS.index(" b"), WORDS.index(" long")] = 5.0  # type: ignore[operator]
    assert run("cbt_ne", f"{story}21 a x XXXXX long\ta\t\ta|b\n", model)["sentence_accuracy"] == 0
    with pytest.raises(ValueError, match="XXXXX"):
        run("cbt_cn", f"{story}21 a x long\ta\t\ta|b\n", model)


def test_hellaswag_by_sum_and_per_character() -> None:
    """A long ending loses by its sum and wins per character; signs of several bytes are one character."""
    line = {
        "activity_label": "x",
        "ctx_a": "x [step] a",
        "ctx_b": "a",
        "endings": ["b", "long longer"],
        "label": 1,
    }
    model = loaded(
        {
            "a": {" b": 0.3, " long": 0.5, " a": 0.2},
            " long": {" long": 0.5, "er": 0.5},
            "x": {" b": 0.4, " long": 0.6},
        }
    )
    found = run("hellaswag", json.dumps(line), model)
    logs = found["rows"][0]["log_probs"]
    assert logs[0] > logs[1]
    assert logs[1] / len("long longer") > logs[0] / len("b")
    assert (found["accuracy"], found["accuracy_per_char"]) == (0, 1)
    model = loaded({"x": {" b": 0.2, "x": 0.2, " a": 0.6}})
    found = run("hellaswag", json.dumps(line | {"endings": ["b", "éé"], "label": 0}), model)
    assert found["accuracy_per_char"] == 1, "per byte the second would win"


# --- language modelling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_tokens", [0, 1, 7, 8, 9, 16, 17, 41])
@pytest.mark.parametrize("stride", [0, 1, 3, 8])
def test_windows_score_every_token_once_behind_what_stands_before_it(
    num_tokens: int, stride: int
) -> None:
    tokens = list(range(1, num_tokens + 1))
    found = list(windows(tokens, 0, 8, stride))
    assert [t for request in found for t in request.continuation] == tokens
    for number, request in enumerate(found):
        first = request.continuation[0]
        assert request.context == tuple(range(first - len(request.context), first))
        size = len(request.context) + len(request.continuation) - 1
        assert size <= 8
        if number:
            assert size == 8, "later windows use the whole context"
            assert len(request.continuation) <= (stride or 8)
    with pytest.raises(ValueError, match="a stride of 9"):
        list(windows(tokens, 0, 8, 9))


def test_figures_are_over_the_units_of_the_original() -> None:
    """By hand: probabilities of three tokens, words with their ends of line, bytes."""
    half, rest = {"a": 0.5, " x": 0.5}, {" b": 0.25, " x": 0.75}
    model = loaded({"<|endoftext|>": half, "a": rest, " b": {"\n": 0.5, " x": 0.5}})
    document = ScoredText("a b\n", words_with_ends("a @-@ b\n"), 8, 8)
    rows = language_outcomes(model, entries_of([document], model, OPTIONS), WORLD, OPTIONS)
    found = language_figures(rows)
    nats = math.log(16)
    assert found["nats"] == pytest.approx(nats, rel=1e-4)
    assert (found["tokens"], found["words"], found["bytes"]) == (3, 4, 8)
    assert found["perplexity_per_token"] == pytest.approx(16 ** (1 / 3), rel=1e-4)
    assert found["perplexity_per_word"] == pytest.approx(2, rel=1e-4)
    assert found["bits_per_byte"] == found["bits_per_char"] == pytest.approx(0.5, rel=1e-4)


def test_a_stride_adds_context_and_no_tokens() -> None:
    torch.manual_seed(0)
    model = LoadedModel(GPT2(Shape(1, 2, 16, 8, len(WORDS))).eval(), WordTokenizer(), 0, {}, {}, 1)
    text = " a b the longer x" * 9 + "\n"
    per_stride = {}
    for stride in (0, 8, 2, 1):
        options = Options(stride=stride, detokenize=False)
        found = run("ptb", text, model, options)
        per_stride[stride] = found["nats"]
        assert found["tokens"] == len(model.tokenizer.encode(text))
    assert per_stride[0] == per_stride[8]
    tokens = (0, *model.tokenizer.encode(text))
    slow = 0.0
    for end in range(1, len(tokens)):  # the definition of stride 1, but for the first window
        first = 0 if end <= 8 else end - 8
        slow -= _slow(model.model, ScoringRequest(tokens[first:end], tokens[end : end + 1]))[0]
    assert per_stride[1] == pytest.approx(slow, rel=1e-5)


def test_the_end_of_a_large_file_is_its_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.scores.tasks.language.LAST_BYTES", 6)
    found = run("enwik8", "x" * 50 + "éa b\n")  # the cut falls into the é
    assert found["bytes"] == 6
    assert found["chars"] == 5
    monkeypatch.setattr("train.scores.tasks.language.LAST_BYTES", 5)
    assert run("text8", "x" * 50 + "éa b\n")["chars"] == 4


# --- tokenized text and back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detokenizer", "tokens", "text"),
    [
        (WIKITEXT, " a 10 @,@ 000 @.@ 5 m two @-@ part ( so @-@ called ) thing , he did n't \n", " a 10,000.5 m two-part (so-called) thing, he didn't \n"),
        (WIKITEXT, ' " Teddy \'s Story " of $ 5 ; 10 % : Mr. Smith left the U.S. in 1990 . Then', ' "Teddy\'s Story" of $5; 10%: Mr. Smith left the U.S. in 1990. Then'),
        (WIKITEXT, " = Robert <unk> = ", " = Robert <unk> = "),
        (PTB, " mr. <unk> did n't pay $ N billion or N % more than the workers ' ", " mr. <unk> didn't pay $N billion or N% more than the workers ' "),
        (ONE_BILLION_WORDS, 'BAGHDAD -- " We \'re here , " he said ( AP ) ...', 'BAGHDAD -- "We\'re here," he said (AP) ...'),
        (ONE_BILLION_WORDS, "He works for Acme Inc .", "He works for Acme Inc."),
    ],
)  # fmt: skip
def test_text_as_people_write_it_and_back(detokenizer: Detokenizer, tokens: str, text: str) -> None:
    assert detokenizer.join(tokens) == text
    assert detokenizer.split(text) == tokens
    assert detokenizer.num_exceptions([tokens, ""]) == 0


def test_exceptions_are_counted() -> None:
    assert ONE_BILLION_WORDS.num_exceptions(["with Acme Inc . and", "plain words"]) == 1
    document = tokenized("with Acme Inc . and\nplain , words\n", ONE_BILLION_WORDS, OPTIONS)
    assert (document.num_exceptions, document.num_words) == (1, 10)
    assert document.text == "with Acme Inc. and\nplain, words\n"
    same = tokenized("plain , words\n", ONE_BILLION_WORDS, Options(detokenize=False))
    assert (same.text, same.num_exceptions) == ("plain , words\n", 0)


@pytest.mark.parametrize(
    ("detokenizer", "file", "num_lines", "most"),
    [
        (WIKITEXT, "wikitext2/wiki.test.tokens.txt.gz", 4_358, 16),
        (WIKITEXT, "wikitext103/wiki.test.tokens.txt.gz", 4_358, 29),
        (PTB, "ptb/ptb.test.txt.gz", 3_761, 0),
        (ONE_BILLION_WORDS, "one_billion_word/1b_benchmark.test.tokens.gz", 12_105, 106),
    ],
)
def test_whole_files_come_back_but_for_counted_lines(
    shared: Path, detokenizer: Detokenizer, file: str, num_lines: int, most: int
) -> None:
    import gzip

    lines = gzip.decompress((shared / "evalsets" / file).read_bytes()).decode().split("\n")[:-1]
    assert len(lines) == num_lines
    some = lines[::10]
    assert sum(detokenizer.join(line) != line for line in some) > 0.3 * len(some)
    assert detokenizer.num_exceptions(lines) <= most


def test_real_sets_have_their_official_counts(shared: Path) -> None:
    import gzip

    def text(name: str) -> str:
        return gzip.decompress((shared / "evalsets" / name).read_bytes()).decode()

    for name in ("wikitext2", "wikitext103"):
        wiki = text(f"{name}/wiki.test.tokens.txt.gz")
        parts = articles(wiki)
        assert "".join(parts) == wiki
        assert sum(words_with_ends(part) for part in parts) == words_with_ends(wiki) == 245_569
        assert 55 < len(parts) < 70
        assert all(part.lstrip().startswith("= ") for part in parts)
    assert words_with_ends(text("ptb/ptb.test.txt.gz")) == 78_669 + 3_761
    assert (
        len(
            TASKS["lambada"].read(
                text("lambada_openai/lambada_test.jsonl.gz").encode(), MODEL, OPTIONS
            )
        )
        == 5_153
    )
    assert (
        len(TASKS["wsc273"].read(text("wsc273/winograd_wsc.jsonl.gz").encode(), MODEL, OPTIONS))
        == 273
    )


# --- written answers -----------------------------------------------------------------------------------------------


def test_answers_are_compared_as_words() -> None:
    assert generation.normalized("The  Cat's, a hat!") == "cats hat"
    assert generation.f1("a white cat", "the cat") == pytest.approx(2 * 1 / 3)
    assert (generation.f1("", "cat"), generation.f1("the", "a")) == (0, 1)
    # Against each reference left out in turn: 1 where another equals the answer, else the best of the rest.
    assert generation.best_f1("cat", ["cat", "dog", "cat"]) == 1
    assert generation.best_f1("cat", ["cat", "dog"]) == 0.5


def test_sentences_are_counted() -> None:
    text = 'One. "Two!" Three 3.5 is? Four.'
    assert generation.first_sentences(text, 3) == 'One. "Two!" Three 3.5 is?'
    assert generation.first_sentences("No end", 3) == "No end"
    assert generation.first_line("\n x y\nz") == "x y"


WRITER = loaded(
    {
        "x": {" a": 1.0},
        " x": {" a": 1.0},
        " a": {" b": 1.0},
        " b": {".": 1.0},
        ".": {"\n": 1.0},
        "\n": {" x": 1.0},
    }
)  # the model always writes " a b.\n x a b." and so on


def test_coqa_by_hand() -> None:
    story = {
        "story": "x x", "questions": [{"input_text": "x"}, {"input_text": "x"}], "answers": [{"input_text": "b"}, {"input_text": "x"}],
        "additional_answers": {"0": [{"input_text": "a b"}, {"input_text": "b"}]},
    }  # fmt: skip
    prompts = [
        prompt
        for prompt, _ in TASKS["coqa"].read(json.dumps({"data": [story]}).encode(), WRITER, OPTIONS)
    ]
    assert prompts == ["x x\n\nQ: x\nA:", "x x\n\nQ: x\nA: b\n\nQ: x\nA:"]
    found = run("coqa", json.dumps({"data": [story]}), WRITER)
    assert [row["answer"] for row in found["rows"]] == ["a b.", "a b."]
    assert found["f1"] == pytest.approx(100 * (1 + 0.5) / 2)  # "a" is an article: "b" is the answer


def test_summaries_are_three_sentences_and_their_rouge() -> None:
    line = json.dumps({"article": "x x", "highlights": "a b x a b x a b"})
    found = run("cnn_dm", line, WRITER)
    assert found["rows"][0]["summary"] == "a b.\n x a b.\n x a b."
    assert found["rouge1"] == pytest.approx(100)
    assert found["rouge_mean"] == pytest.approx(100)
    other = run("cnn_dm", json.dumps({"article": "x x", "highlights": "a q"}), WRITER)
    assert other["rouge1"] == pytest.approx(100 * 2 * (1 / 8) * (1 / 2) / (1 / 8 + 1 / 2))


@pytest.mark.parametrize(
    "highlights",
    ["The cat sat .\nDogs ran .\nA bird flew .", "The cat sat. Dogs ran. A bird flew."],
)
def test_sentences_of_a_summary_may_stand_in_another_order(
    highlights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ROUGE-L of papers on CNN/Daily Mail is at summary level."""
    monkeypatch.setattr(
        generation, "write", lambda *arguments, **named: ["A bird flew. The cat sat. Dogs ran. "]
    )
    rows = generation.summaries(WRITER, [("x", highlights)], WORLD, OPTIONS)
    assert rows[0]["rougeL"] == pytest.approx(1)
    assert rows[0]["rouge2"] < 1


class Characters:
    """A tokenizer whose ids are code points."""

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


def test_a_long_article_loses_its_end_and_keeps_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts: list[str] = []

    def keep(model: Any, given: Sequence[Sequence[int]], **named: Any) -> list[list[int]]:
        prompts.extend(Characters().decode(prompt[1:]) for prompt in given)
        return [[] for _ in given]

    monkeypatch.setattr(generation, "continue_prompts", keep)
    monkeypatch.setattr(generation, "SUMMARY_TOKENS", 9)
    writer = dataclasses.replace(
        WRITER, tokenizer=Characters(), model=GPT2(Shape(1, 1, 4, 30, 128)), end_of_text=0
    )
    articles = ["First a. Then b. Last c.", "Short one."]
    generation.summaries(writer, [(article, "a") for article in articles], WORLD, OPTIONS)
    assert prompts == ["First a. Then\nTL;DR:", "Short one.\nTL;DR:"]


def test_shared_contexts_are_scored_as_exactly_as_others_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Products of the head in bfloat16 would round logits of this size by a tenth of a nat."""
    torch.manual_seed(0)
    model = GPT2(Shape(1, 2, 32, 64, 200)).eval()
    model.ln_f.weight.data *= 40
    narrow = dataclasses.replace(WORLD, dtype=torch.bfloat16)
    requests = [ScoringRequest(tuple(range(40)), (place, 7)) for place in range(10, 14)]
    shared = score(model, requests, narrow)
    monkeypatch.setitem(logprobs.REUSE_TOKENS, "cpu", 10_000)
    alone = score(model, requests, narrow)
    for one, other in zip(shared, alone, strict=True):
        assert max(abs(a - b) for a, b in zip(one.log_probs, other.log_probs, strict=True)) < 0.02


CBT_WORDS = (
    "`` I did n't , '' said the boy -LRB- again -RRB- .",
    '"I didn\'t," said the boy (again).',
)


def test_cbt_is_scored_as_a_book_prints_it_unless_told_otherwise() -> None:
    """From the findings: a prompt with `''`, `-LRB-` and ` n't` is unlike any text of the web."""
    tokens, printed = CBT_WORDS
    data = "".join(f"{n} {tokens}\n" for n in range(1, 21))
    data += "21 The boy took the XXXXX , and he did n't look `` back .\tball\t\tball|dog\n"
    (choice, lengths), *_ = choices.read_cbt(data.encode(), WRITER, OPTIONS)
    assert choice.contexts == (" ".join([printed] * 20) + " The boy took the",)
    assert choice.endings == (
        " ball, and he didn't look \"back.",
        " dog, and he didn't look \"back.",
    )
    assert lengths == (5, 4)
    plain = dataclasses.replace(OPTIONS, detokenize=False)
    (choice, lengths), *_ = choices.read_cbt(data.encode(), WRITER, plain)
    assert choice.contexts[0].endswith(f"{tokens} The boy took the")
    assert choice.endings[0] == " ball , and he did n't look `` back ."


@pytest.mark.parametrize(
    ("query", "context", "ending", "length"),
    [
        ("XXXXX ran .", "x", " ball ran.", 5),
        ("`` XXXXX ! ''", 'x "', 'ball!"', 4),
        ("the XXXXX", "x the", " ball", 5),
    ],
)
def test_the_choice_of_cbt_may_stand_anywhere(
    query: str, context: str, ending: str, length: int
) -> None:
    (choice, lengths), *_ = choices.read_cbt(
        f"1 x\n2 {query}\tball\t\tball|dog\n".encode(), WRITER, OPTIONS
    )
    assert (choice.contexts[0], choice.endings[0], lengths[0]) == (context, ending, length)


def test_translations_follow_examples_that_are_not_scored() -> None:
    data = "".join(f"x{n}\ta b.\n" for n in range(7))
    entries = TASKS["wmt14_en_fr"].read(data.encode(), WRITER, OPTIONS)
    assert len(entries) == 2
    assert entries[0][0].endswith("x4 = a b.\nx5 =")
    assert TASKS["wmt14_fr_en"].read(data.encode(), WRITER, OPTIONS)[1] == (
        entries_prompt(data),
        "x6",
    )
    found = run("wmt14_en_fr", data, WRITER)
    assert [row["translation"] for row in found["rows"]] == ["a b."] * 2
    pairs = [("the cat sat on the mat .", "the cat sat on the mat .")]
    rows = [{"translation": ours, "reference": theirs} for ours, theirs in pairs]
    assert TASKS["wmt14_en_fr"].figures(rows)["bleu"] == pytest.approx(100)
    # Precisions 5/6, 3/5, 2/4 and 1/3, no brevity penalty.
    rows = [{"translation": "the cat sat on a mat", "reference": "the cat sat on the mat"}]
    expected = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert TASKS["wmt14_en_fr"].figures(rows)["bleu"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="more than 5"):
        run("wmt14_en_fr", "x\ty\n", WRITER)


def entries_prompt(data: str) -> str:
    turned = [line.split("\t")[::-1] for line in data.splitlines()]
    return "".join(f"{a} = {b}\n" for a, b in turned[:5]) + f"{turned[6][0]} ="


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0b", "\x1c"])
def test_only_ends_of_line_end_a_line(mark: str) -> None:
    """As in `corpus.evaluation_sets.files`; Python's `splitlines` breaks JSON and pairs at a dozen other signs that texts hold."""
    story = "".join(f"{n} x{mark}x\r\n" for n in range(1, 21))
    texts = {
        "lambada": [{"text": f"a{mark}b x"}],
        "wsc273": [{"context_options": [f"a{mark}a", "b"], "continuation": "x", "gold": 0}],
        "hellaswag": [{"activity_label": "a", "ctx_a": f"a{mark}", "ctx_b": "b", "endings": ["a", "b"], "label": 0}],
        "cnn_dm": [{"article": f"a{mark}b", "highlights": "a"}],
        "nq": [{"question": f"a{mark}b", "answer": ["b"]}] * 6,
    }  # fmt: skip
    lines = {
        name: "".join(json.dumps(line, ensure_ascii=False) + "\r\n" for line in some)
        for name, some in texts.items()
        if mark > "\x1f"  # JSON escapes the others
    }
    lines |= {
        "wmt14_en_fr": f"a{mark}b\ta b\r\n" * 6,
        "cbt_cn": f"{story}21 a x XXXXX long\ta\t\ta|b\r\n",
    }
    found = {name: TASKS[name].read(data.encode(), WRITER, OPTIONS) for name, data in lines.items()}
    assert {name: len(entries) for name, entries in found.items()} == dict.fromkeys(lines, 1)
    assert found["wmt14_en_fr"][0] == (f"a{mark}b = a b\n" * 5 + f"a{mark}b =", "a b")
    assert found["cbt_cn"][0][0].contexts[0].startswith(f"x{mark}x x{mark}x ")


def test_questions_by_exact_match_and_confidence() -> None:
    lines = [{"question": "x", "answer": ["x"]}] * 5 + [
        {"question": "x", "answer": ["nothing", "The a B"]},
        {"question": "x", "answer": ["nothing"]},
    ]
    found = run("nq", "\n".join(map(json.dumps, lines)), WRITER)
    assert [row["exact_match"] for row in found["rows"]] == [True, False]
    assert found["exact_match"] == 50
    rows = [{"exact_match": n == 7, "confidence": -abs(n - 7.0)} for n in range(200)]
    assert (
        TASKS["nq"].figures(rows)["exact_match_confident"] == 50
    )  # two of 200 are the most confident


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


def test_figures_of_two_types_never_stand_in_one_table() -> None:
    scores = {"weights": "w", "snapshot": "s", "dtype": "bfloat16", "sets": {"a": 1}, "about": {}}
    earlier = {"weights": "w", "snapshot": "s", "sets": {"b": 2}, "about": {}}
    assert evaluate.together(earlier, scores) == scores
    assert evaluate.different(earlier, scores) == ["dtype"]
    same = {**scores, "dtype": "float32"}
    assert evaluate.together(earlier, same)["sets"] == {"a": 1, "b": 2}
