from __future__ import annotations

import itertools
import json
import socket
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clean.filters.language import DECLARED_FRAC, UNKNOWN, Language, LanguageConfig, detect, judge
from clean.reasons import Reason

SAMPLES = {
    "en": "The house on the hill had been empty for years before anyone thought of buying it.",
    "de": "Das Haus auf dem Hügel stand jahrelang leer, bevor jemand daran dachte, es zu kaufen.",
    "fr": "La maison sur la colline était restée vide pendant des années avant d'être achetée.",
    "es": "La casa de la colina llevaba años vacía antes de que alguien pensara en comprarla.",
    "ru": "Дом на холме пустовал много лет, прежде чем кто-то решил его купить.",
    "zh": "山上的房子空了很多年，后来才有人想把它买下来。",
    "ja": "丘の上の家は、誰かが買おうと思うまで何年も空き家だった。",
    "ar": "ظل البيت على التل خاليا سنوات قبل أن يفكر أحد في شرائه.",
}


@pytest.mark.parametrize("label", SAMPLES)
def test_known_languages(label: str) -> None:
    told = detect(SAMPLES[label])
    assert told.label == label
    assert told.score > 0.65


def test_the_model_is_here_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    from clean.filters import language

    language._detector.cache_clear()
    assert detect(SAMPLES["en"]).label == "en"


def test_lines_capitals_and_length_do_not_matter() -> None:
    assert detect("\n\n".join([SAMPLES["en"].upper()] * 500)).label == "en"
    assert detect(SAMPLES["fr"].replace(" ", "\n")).label == "fr"


@pytest.mark.parametrize("raw", ["", " \n", "12 + 34 = 46", "\ud800"])
def test_no_letters_no_language(raw: str) -> None:
    assert detect(raw) == (UNKNOWN, 0.0)


@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_text_has_an_answer_and_always_the_same(text: str) -> None:
    told = detect(text)
    assert 0 <= told.score <= 1
    assert detect(text) == told


def test_judge() -> None:
    config = LanguageConfig(languages=("en", "de"), min_score=0.5)
    assert judge(Language("de", 0.9), config) is None
    assert judge(Language("fr", 0.9), config) is Reason.LANGUAGE
    assert judge(Language("en", 0.4), config) is Reason.LANGUAGE_UNSURE
    assert judge(Language("xx", 0.0), LanguageConfig(languages=())) is None


@pytest.mark.parametrize("code", ["EN", "english", "en-GB", ""])
def test_a_language_that_the_model_never_names_is_refused(code: str) -> None:
    with pytest.raises(ValidationError, match="languages"):
        LanguageConfig(languages=("en", code))


ENGLISH = " ".join(
    f"The {number}th of them said that the house had been empty for years, and nobody knew why."
    for number in range(40)
)
FRENCH = " ".join(
    f"La {number}e maison était restée vide pendant des années avant d'être achetée par eux."
    for number in range(40)
)
CODE = "for (int i = 0; i < n; i++) { buf[i] = tbl[idx(i)] ^ 0x1f; }\n" * 12


@pytest.mark.parametrize(
    "start",
    [
        " ".join(
            f"{first} {last}" for first in ("Zoltán", "Jürgen", "Björk") for last in "ABCDEFGHIJ"
        ),
        CODE,
        "Arma virumque cano, Troiae qui primus ab oris Italiam, fato profugus, venit. " * 8,
        FRENCH[:700],
        "1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 4. Ba4 Nf6 5. O-O Be7 6. Re1 b5 7. Bb3 d6 " * 8,
    ],
)
def test_a_beginning_in_another_language_does_not_decide(start: str) -> None:
    assert judge(detect(f"{start}\n\n{ENGLISH}"), LanguageConfig()) is None


def test_a_page_behind_an_english_menu_is_in_its_own_language() -> None:
    assert detect(f"{ENGLISH[:600]}\n\n{FRENCH}").label == "fr"


def test_weak_windows_that_agree_are_evidence() -> None:
    catalogue = "".join(
        f"Sennheiser HD {n}S Headphones\nRegular price\n$ {n}.99\nSale price\n$ {n - 9}.00\nSold out\n\n"
        for n in range(400, 440)
    )
    assert judge(detect(catalogue), LanguageConfig()) is None


def test_english_texts_of_books_and_proposals_stay(shared: Path) -> None:
    """Chapters with foreign epigraphs and proposals that are mostly code are among them."""
    dropped, count = [], 0
    for source in ("standardebooks", "peps", "openstax"):
        path = shared / f"prose/dev/{source}.jsonl.zst"
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, itertools.islice(lines, 0, None, 3)):
                count += 1
                if judge(detect(row["text"]), LanguageConfig()):
                    dropped.append(row["id"])
    assert count > 1500
    assert len(dropped) <= 0.001 * count, dropped


def test_foreign_texts_go(shared: Path) -> None:
    foreign = "rust_rfcs/text/3392-leadership-council/Leadership-Council-RFC"
    path = shared / "prose/dev/rust_rfcs.jsonl.zst"
    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        verdicts = [
            judge(detect(row["text"]), LanguageConfig())
            for row in map(json.loads, lines)
            if row["id"].startswith(tuple(foreign + code for code in ("ko", "ru", "zh")))
        ]
    assert verdicts == [Reason.LANGUAGE] * 4


@pytest.mark.parametrize(
    ("label", "score", "declared", "reason"),
    [
        ("en", 0.3, "en", None),
        ("en", DECLARED_FRAC * 0.5, "en", None),
        ("en", 0.24, "en", Reason.LANGUAGE_UNSURE),
        ("en", 0.3, None, Reason.LANGUAGE_UNSURE),
        ("en", 0.3, "de", Reason.LANGUAGE_UNSURE),
        ("de", 0.9, "en", Reason.LANGUAGE),
    ],
)
def test_a_declared_language_needs_half_the_probability(
    label: str, score: float, declared: str | None, reason: Reason | None
) -> None:
    assert judge(Language(label, score), LanguageConfig(), declared) is reason
