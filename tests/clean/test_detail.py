"""Every dropped page names value, threshold and setting; the setting at that value keeps the page."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clean import normalize
from clean.config import CleanConfig
from clean.document import Document, Dropped, Page, document_function
from clean.filters import language, quality
from clean.filters.quality import QualityConfig
from corpus.config import describe, load_config

SHAPE = re.compile(
    r"(?P<value>[\d.]+) [^:]*?, (?:needs|allowed) (?P<limit>[\d.]+): (?P<key>clean\.[a-z0-9_.]+)"
)
KEYS = {key for key, _, _ in describe(CleanConfig, "clean")}
WORDS = ("the", "of", "and", "12", "#", "a", "sentence.", "incomprehensibilities", "...", "{")


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Texts of repeated words and lines, which rules of every family drop."""
    line = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
    lines = draw(st.lists(line, min_size=1, max_size=12))
    ends = draw(st.lists(st.sampled_from(["\n", "\n\n"]), min_size=12, max_size=12))
    times = draw(st.sampled_from([1, 1, 2, 8]))
    return "".join(f"{each}{end}" for each, end in zip(lines, ends, strict=False)) * times


def with_value(preset: str, key: str, value: str, limit: str) -> QualityConfig:
    """The preset with the named setting at the value; of a setting per n, the n that has the limit."""
    default: Any = load_config(CleanConfig, "clean", sets=[f"clean.quality.preset={preset}"])
    for name in key.split(".")[1:]:
        default = getattr(default, name)
    if isinstance(default, dict):
        changed = {
            str(n): float(value) if most == float(limit) else most for n, most in default.items()
        }
        value = "{" + ", ".join(f"{n} = {most}" for n, most in changed.items()) + "}"
    sets = [f"clean.quality.preset={preset}", f"{key}={value}"]
    return load_config(CleanConfig, "clean", sets=sets).quality


@pytest.mark.parametrize("preset", sorted(quality.MIN_WORDS))
@settings(max_examples=150, deadline=None)
@given(text=texts())
def test_the_setting_at_the_value_shown_changes_the_verdict(preset: str, text: str) -> None:
    config = QualityConfig.model_validate({"preset": preset, "min_words": 0})
    judged = quality.judge(text, config)
    if judged.reason is None:
        assert judged.detail is None
        return
    assert judged.detail is not None
    if judged.detail.endswith("allowed none: clean.quality.preset"):
        return
    found = SHAPE.fullmatch(judged.detail)
    assert found is not None, judged.detail
    assert found["key"] in KEYS
    eased = with_value(preset, found["key"], found["value"], found["limit"])
    again = quality.judge(text, eased.model_copy(update={"min_words": 0}))
    assert (again.reason, again.detail) != (judged.reason, judged.detail)


def test_the_details_of_the_rules() -> None:
    def detail(preset: str, text: str, **more: Any) -> str | None:
        return quality.judge(text, QualityConfig.model_validate({"preset": preset} | more)).detail

    prose = "The cat sat on the mat and it looked at all of us. " * 3
    assert detail("c4", prose) == "3 sentences, needs 5: clean.quality.c4.min_sentences"
    assert detail("webtext", "six words are not quite enough") == (
        "6 words, needs 50: clean.quality.min_words"
    )
    assert detail("webtext", "one") == "1 word, needs 50: clean.quality.min_words"
    letters = " ".join("abcdefghijklmnopqrstuvwxyz")
    assert detail("gopher", letters, min_words=0, gopher={"min_words": 0}) == (
        "1 characters a word, needs 3: clean.quality.gopher.min_mean_word_chars"
    )
    braces = quality.judge(
        "This is the case of a line if { that } is { so } now. " * 6, QualityConfig(preset="c4")
    )
    assert braces.detail == "12 '{' in the text, allowed none: clean.quality.preset"


def test_the_details_of_the_other_steps() -> None:
    document = document_function(CleanConfig())

    def detail(body: str, kind: str = "text/plain; charset=utf-8") -> str | None:
        result = document(Page("http://a.example/", "http://a.example/", kind, None, body.encode()))
        assert not isinstance(result, Document)
        assert isinstance(result, Dropped)
        return result.detail

    german = "Das ist ein deutscher Text, der von Hunden und Katzen im Garten erzählt. " * 9
    found = re.fullmatch(
        r"de \(\d\.\d\d\), needs en: clean\.language\.languages", detail(german) or ""
    )
    assert found is not None
    signs = SHAPE.fullmatch(detail("~!@ $%^ &*( ))_ +== " * 40 + "abc") or "")
    assert signs is not None
    assert (signs["limit"], signs["key"]) == ("0.25", "clean.normalize.min_letter_frac")

    unsure = language.Language("en", 0.4399)
    told = language.detail_of(language.Reason.LANGUAGE_UNSURE, unsure, language.LanguageConfig())
    assert told == "0.439 probability of en, needs 0.5: clean.language.min_score"
    unsure = language.Language("en", 0.2399)
    told = language.detail_of(
        language.Reason.LANGUAGE_UNSURE, unsure, language.LanguageConfig(), declared="en"
    )
    assert told == "0.239 probability of en, needs 0.25: clean.language.min_score"
    binary = normalize.normalize("\ufffd" * 9 + "text", normalize.NormalizeConfig())
    told = normalize.detail_of(normalize.Reason.BINARY, binary, normalize.NormalizeConfig())
    assert SHAPE.fullmatch(told), told
