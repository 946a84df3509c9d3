"""Options of `webtext generate` and the printing of a text while it is written."""

from __future__ import annotations

import re

import pytest

from corpus.errors import InputError
from train import generate

REQUIRED = ("--corpus", "c", "--run", "r")


@pytest.mark.parametrize(
    ("option", "allowed", "refused"),
    [
        ("--temperature", ("0", "1e-4", "1e9"), ("9.9e-5", "-1", "inf", "nan")),
        ("--top-k", ("0", "1"), ("-1",)),
        ("--top-p", ("1e-9", "1"), ("0", "1.001", "nan")),
        ("--min-p", ("0", "1"), ("-0.001", "1.001", "nan")),
        ("--num-samples", ("1",), ("0",)),
        ("--num-tokens", ("1",), ("0",)),
        ("--seed", ("0",), ("-1",)),
    ],
)
def test_options_have_ranges(
    option: str, allowed: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    parser = generate._parser()
    for value in allowed:
        generate._check_ranges(parser.parse_args([*REQUIRED, f"{option}={value}"]))
    for value in refused:
        with pytest.raises(InputError, match=f"{option} .* is out of range"):
            generate._check_ranges(parser.parse_args([*REQUIRED, f"{option}={value}"]))


def test_defaults_are_those_of_the_help() -> None:
    parser = generate._parser()
    stated = {
        action.dest: (found[1], action.default)
        for action in parser._actions
        if action.help and (found := re.search(r"\(default: ([a-z\d.]+)\)", action.help))
    }
    assert {name: text for name, (text, _) in stated.items()} == {
        "num_samples": "1",
        "num_tokens": "256",
        "temperature": "1",
        "top_k": "40",
        "top_p": "1",
        "min_p": "0",
        "seed": "0",
        "device": "auto",
        "checkpoint": "last",
    }
    for name, (text, default) in stated.items():
        assert text == f"{default:g}" if isinstance(default, float) else text == str(default), name


@pytest.mark.parametrize(
    ("text", "stops", "printed", "ends"),
    [
        ("stop", ["stop"], "", True),
        ("a stop", ["stop"], "a ", True),
        ("a stop b end", ["end", "stop"], "a ", True),
        ("a sto", ["stop"], "a ", False),
        ("a s", ["stop"], "a ", False),
        ("a s", ["s"], "a ", True),
        ("a stoq", ["stop"], "a stoq", False),
        ("ab\ufffd", [], "ab", False),
        ("ab\ufffd\ufffd", ["b\ufffdc"], "ab", False),
        ("", ["stop"], "", False),
        ("abc", ["c", "bc"], "a", True),
        ("xxab", ["abc", "b!"], "xx", False),
    ],
)
def test_what_may_still_change_is_not_printed(
    text: str, stops: list[str], printed: str, ends: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    printer = generate.Printer(stops, lambda tokens: text)
    printer.is_shown = True
    assert printer.take([]) is ends
    out = capsys.readouterr().out
    assert out + printer.finish() == (printed if ends else text)
    assert out == ("" if ends else printed)


@pytest.mark.parametrize(
    ("code", "is_text"),
    [(0xD7FF, True), (0xD800, False), (0xDC80, False), (0xDFFF, False), (0xE000, True)],
)
def test_a_prompt_is_utf8_text(code: int, is_text: bool) -> None:
    """Bytes of a command line that are not UTF-8 come as lone surrogates."""
    args = generate._parser().parse_args([*REQUIRED, "--prompt", f"a{chr(code)}"])
    if is_text:
        assert generate._prompts(args) == [f"a{chr(code)}"]
    else:
        with pytest.raises(InputError, match="expected UTF-8 text"):
            generate._prompts(args)


def test_texts_written_together_are_not_printed_while_they_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printer = generate.Printer([], lambda tokens: "a text")
    assert not printer.take([])
    assert capsys.readouterr().out == ""
    assert printer.finish() == "a text"
