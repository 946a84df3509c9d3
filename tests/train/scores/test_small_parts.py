"""Exact borders of how sets are read and cut, and of how sequences are put together."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from corpus.errors import InputError
from train import sweep
from train.scores import paper
from train.scores.logprobs import batches
from train.scores.tasks import generation, language
from train.scores.tasks.few_shot import examples_of, read_rows
from train.scores.tasks.task import Options, exp, lines, mean
from train.scores.texts import text_sets

END = -1
# Tokens are characters.
LOADED: Any = SimpleNamespace(tokenizer=SimpleNamespace(encode=list), end_of_text=END)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limit", [1, 9, 10, 11, 40])
def test_sequences_are_put_together_up_to_the_limit(limit: int, seed: int) -> None:
    """Longest first, padded to the first: a group that another fits into is not left."""
    rng = random.Random(seed)
    lengths = [rng.randrange(1, 11) for _ in range(rng.randrange(12))]
    found = batches(lengths, limit)
    order = [place for group in found for place in group]
    assert order == sorted(range(len(lengths)), key=lambda place: -lengths[place])
    for number, group in enumerate(found):
        widest = lengths[group[0]]
        assert len(group) == 1 or len(group) * widest <= limit
        assert number + 1 == len(found) or (len(group) + 1) * widest > limit


@pytest.mark.parametrize(("num_tokens", "stride"), [(n, s) for n in range(12) for s in range(5)])
def test_windows_read_as_much_as_fits(num_tokens: int, stride: int) -> None:
    """The first reads whole, later ones score `stride` tokens behind all that still fits."""
    text = [0, *range(1, num_tokens + 1)]
    done, expected = 1, []
    while done < len(text):
        end = min(len(text), done + (4 if done == 1 else stride or 4))
        first = max(0, end - 1 - 4)
        expected.append((text[first:done], text[done:end]))
        done = end
    found = language.windows(text[1:], 0, 4, stride)
    assert [(list(each.context), list(each.continuation)) for each in found] == expected


@pytest.mark.parametrize("stride", [-1, 5])
def test_a_stride_beyond_the_context_is_refused(stride: int) -> None:
    with pytest.raises(ValueError, match="stride"):
        list(language.windows([1, 2], 0, 4, stride))


def test_the_first_documents_are_whole() -> None:
    entries = [SimpleNamespace(place=place) for place in (0, 0, 1, 2, 2)]
    assert [each.place for each in language.first_documents(entries, 2)] == [0, 0, 1]
    assert language.first_documents(entries, 0) == []


@pytest.mark.parametrize(("spaces", "parts"), [(0, 2), (1, 2), (2, 2), (3, 1)])
def test_the_first_title_of_a_file_is_near_its_beginning(spaces: int, parts: int) -> None:
    """A line of up to two spaces may stand before it; other titles are between empty lines."""
    before = " " * spaces + "\n" if spaces else ""
    text = f"{before} = One = \n \n Text \n \n = Two = \n \n Text \n = Not = \n"
    found = language.articles(text)
    assert "".join(found) == text
    assert len(found) == parts


@pytest.mark.parametrize(
    ("text", "count", "enough", "first"),
    [
        ("", 1, False, ""),
        ("One. Two", 1, True, "One."),
        ("One.", 1, False, "One."),
        ("One. Two! ", 2, True, "One. Two!"),
        ("One. Two! ", 3, False, "One. Two!"),
        ('He said "No." Then', 1, True, 'He said "No."'),
        ("It is 3.5 now. So", 1, True, "It is 3.5 now."),
    ],
)
def test_sentences(text: str, count: int, enough: bool, first: str) -> None:
    assert generation.has_sentences(text, count) is enough
    assert generation.first_sentences(text, count) == first


@pytest.mark.parametrize(
    ("text", "enough"),
    [("", False), ("\n\n", False), ("a", False), ("\na", False), ("\na\n", True)],
)
def test_a_line_has_ended(text: str, enough: bool) -> None:
    assert generation.has_line(text) is enough


@pytest.mark.parametrize("begin", [True, False])
@pytest.mark.parametrize(
    ("prompt", "question", "space", "left"),
    [
        ("abcdef", "", 6, "abcdef"),
        ("abcdef", "", 5, "bcdef"),
        ("abcd", "xy", 6, "abcdxy"),
        # The end of the prompt goes, not the question.
        ("abcd", "xy", 5, "abcxy"),
        ("abcd", "xy", 2, "xy"),
        ("abcd", "xyz", 2, "yz"),
    ],
)
def test_a_prompt_is_cut_where_it_matters_least(
    prompt: str, question: str, space: int, left: str, begin: bool
) -> None:
    found = generation._cut(LOADED, prompt, question, space, Options(begin=begin))
    assert found == ((END,) if begin else ()) + tuple(left)


@pytest.mark.parametrize(("space", "tokens"), [(3, ("ab", "cd", "e")), (2, ("ab", "de"))])
def test_a_prompt_that_fits_is_read_as_one_text(space: int, tokens: tuple[str, ...]) -> None:
    """Tokens are two characters here: the end of the prompt and the question share one."""
    pairs: Any = SimpleNamespace(
        tokenizer=SimpleNamespace(encode=lambda text: [text[n : n + 2] for n in range(0, len(text), 2)]),
        end_of_text=END,
    )  # fmt: skip
    assert generation._cut(pairs, "abc", "de", space, Options(begin=False)) == tokens


@pytest.mark.parametrize(
    ("task", "question"), [(generation.WMT14_EN_FR, "e5 ="), (generation.WMT14_FR_EN, "f5 =")]
)
def test_directions_of_translation(task: Any, question: str) -> None:
    data = "".join(f"e{n}\tf{n}\n" for n in range(6))
    ((prompt, _),) = task.read(data.encode(), LOADED, Options())
    assert prompt.endswith(question)


def test_five_pairs_are_examples() -> None:
    data = "".join(f"e{n}\tf{n}\n" for n in range(6))
    ((prompt, reference),) = generation.read_pairs(data.encode(), LOADED, Options(), reverse=False)
    assert prompt == "".join(f"e{n} = f{n}\n" for n in range(5)) + "e5 ="
    assert reference == "f5"
    ((prompt, reference),) = generation.read_pairs(data.encode(), LOADED, Options(), reverse=True)
    assert (prompt[-4:], reference) == ("f5 =", "e5")
    for wrong in (data[: data.index("e5")], data.replace("\te", "\t\te") + "one\n"):
        with pytest.raises(ValueError, match="more than 5 lines"):
            generation.read_pairs(wrong.encode(), LOADED, Options(), reverse=False)


def test_five_questions_are_examples() -> None:
    rows = "".join(f'{{"question": "q{n}", "answer": ["a{n}", "b"]}}\n' for n in range(6))
    ((prompt, answers),) = generation.read_questions(rows.encode(), LOADED, Options())
    assert prompt.startswith("Q: q0\nA: a0\n\nQ: q1\nA: a1\n\n")
    assert prompt.endswith("Q: q4\nA: a4\n\nQ: q5\nA:")
    assert answers == ["a5", "b"]
    with pytest.raises(ValueError, match="more than 5 questions"):
        generation.read_questions(rows[: rows.index('{"question": "q5"')].encode(), LOADED, Options())  # fmt: skip


def test_examples_are_others_and_always_the_same() -> None:
    found = examples_of(3, range(6), 4)
    assert len(set(found)) == 4
    assert 3 not in found
    assert found == examples_of(3, range(6), 4) == [1, 4, 5, 0]
    assert sorted(examples_of(3, range(6), 99)) == [0, 1, 2, 4, 5]
    assert examples_of(3, range(6), 0) == []


def test_numbers_of_tables() -> None:
    assert [paper._number(value) for value in (None, 0.123456, 9999.4, 10_000.0, 1_234_567.0)] == [
        "", "0.1235", "9999", "1e+04", "1.23e+06",
    ]  # fmt: skip
    assert mean([{"a": 1}, {"a": 4}], "a") == 2.5
    assert lines(b"a\r\n\n \nb\x0bc") == ["a", "b\x0bc"]


def test_a_perplexity_beyond_floats_is_infinite() -> None:
    assert exp(0.0) == 1.0
    assert exp(699.999) == math.exp(699.999) < math.inf
    assert exp(700.0) == exp(1e9) == math.inf


@pytest.mark.parametrize(
    ("loss", "kept"),
    [(3.0, 3.0), (699.9, 699.9), (700.0, None), (math.nan, None), (math.inf, None)],
)
def test_a_rate_whose_loss_is_no_number_has_diverged(loss: float, kept: float | None) -> None:
    result = SimpleNamespace(summary={"val_loss": loss})
    assert sweep._loss(cast(Any, None), lambda request: cast(Any, result)) == kept


def test_texts_have_names_of_their_own() -> None:
    assert [each.name for each in text_sets(["a=x.jsonl", "b=x.jsonl", "c/d.jsonl.gz"])] == ["a", "b", "d"]  # fmt: skip
    with pytest.raises(InputError, match="two of one name"):
        text_sets(["a=x.jsonl", "b=y.jsonl", "a=z.jsonl"])


def test_the_table_is_in_the_order_of_the_paper() -> None:
    """Accuracies in per cent, the share of overlap where it is known."""
    scores = {
        "sets": {
            "ptb": {"perplexity_per_word": 40.0},
            "lambada": {"last_token_accuracy": 0.5},
            "validation": {"perplexity_per_token": 30.0},
        },
        "about": {"ptb": {"overlap_share": 0.0123}, "lambada": {"limit": 1200, "official": False}},
    }
    rows = [[cell.strip() for cell in line.split("|")] for line in paper.table(scores).split("\n")]
    assert [(row[1], row[8], row[10]) for row in rows[2:]] == [
        ("validation", "30", ""),
        ("lambada (not the official file) (first 1,200)", "50", ""),
        ("ptb", "40", "1.23%"),
    ]


@pytest.mark.parametrize(("data", "line"), [("x\n{}\n", 1), ("{}\n{}\n[", 3)])
def test_a_line_of_another_format_is_named(data: str, line: int) -> None:
    with pytest.raises(ValueError, match=rf"^line {line}: JSONDecodeError"):
        read_rows(data.encode(), dict)


def test_units_of_figures() -> None:
    """By hand: 8 bits over 2 characters, 4 bytes, 4 tokens and 8 words."""
    row = {"document": 0, "log_prob": -8 * math.log(2), "num_tokens": 4, "num_words": 8}
    found = language.figures([{**row, "num_chars": 2, "num_bytes": 4, "num_exceptions": 0}])
    assert found["bits_per_char"] == pytest.approx(4, rel=1e-12)
    assert found["bits_per_byte"] == pytest.approx(2, rel=1e-12)
    assert found["perplexity_per_token"] == pytest.approx(4, rel=1e-12)
    assert found["perplexity_per_word"] == pytest.approx(2, rel=1e-12)
    empty = language.figures([{**row, "num_words": 0, "num_chars": 0, "num_bytes": 0, "num_exceptions": 0}])  # fmt: skip
    assert empty["bits_per_char"] == empty["bits_per_byte"] == pytest.approx(8, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "words"), [("", 0), ("a b", 2), ("a b\n", 3), ("\n", 1), (" a \n\n b\n", 5)]
)
def test_ends_of_lines_are_words(text: str, words: int) -> None:
    assert language.words_with_ends(text) == words
