"""Exact borders of every rule of clean: just under, at, and just over."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from clean.filters import c4, fineweb, gopher, language, quality
from clean.filters.c4 import C4Config
from clean.filters.fineweb import FineWebConfig
from clean.filters.gopher import GopherConfig
from clean.filters.language import Language, LanguageConfig
from clean.filters.profile import Profile
from clean.filters.quality import Preset, QualityConfig
from clean.normalize import NormalizeConfig, Normalized, _repaired, judge, normalize
from clean.page_source import decode as decode_module
from clean.page_source.decode import _utf16_without_mark, decode
from clean.reasons import Reason

CONFIG = GopherConfig()


def lines(ending: int, total: int, mark: str = "...") -> str:
    return "\n".join(f"line {n}{mark if n < ending else ''}" for n in range(total))


def distinct(count: int) -> str:
    return " ".join(f"w{n}" for n in range(count))


@pytest.mark.parametrize(
    ("rule", "text", "dropped"),
    [
        (gopher.words, distinct(49), True),
        (gopher.words, distinct(50), False),
        (gopher.words, distinct(100_000), False),
        (gopher.words, distinct(100_001), True),
        (gopher.word_length, "ab abc", True),  # 2.5
        (gopher.word_length, "abc abc", False),  # 3
        (gopher.word_length, "a" * 10 + " " + "b" * 10, False),
        (gopher.word_length, "a" * 10 + " " + "b" * 11, True),
        (gopher.symbols, "# " + distinct(9), False),  # 1 of 10 words
        (gopher.symbols, "# " + distinct(8), True),
        (gopher.symbols, "... " + distinct(9), False),
        (gopher.symbols, "\u2026 " + distinct(8), True),
        (gopher.bullets, "\n".join(["- x"] * 9 + ["y"]), False),
        (gopher.bullets, "\n".join(["- x"] * 10 + ["y"]), True),
        (gopher.ellipses, lines(3, 10), False),
        (gopher.ellipses, lines(3, 9), True),
        (gopher.ellipses, lines(4, 10, "\u2026"), True),
        (gopher.alphabetic, "a b c d 1", False),  # .8
        (gopher.alphabetic, "a b c d e f g 1 2", True),  # 7 of 9
        (gopher.alphabetic, "a b c 1", True),
        (gopher.stop_words, "the cat", True),
        (gopher.stop_words, "the cat of", False),
        (gopher.repeated_lines, "\n".join(["x"] * 4 + [f"line {n} of some length" for n in range(6)]), False),
        (gopher.repeated_lines, "\n".join(["x"] * 5 + [f"line {n} of some length" for n in range(6)]), True),
        (gopher.repeated_paragraphs, "\n\n".join(["x"] * 4 + [f"part {n} of some length" for n in range(6)]), False),
        (gopher.repeated_paragraphs, "\n\n".join(["x"] * 5 + [f"part {n} of some length" for n in range(6)]), True),
    ],
)  # fmt: skip
def test_gopher_borders(rule: object, text: str, dropped: bool) -> None:
    assert (rule(Profile(text), CONFIG) is not None) is dropped  # type: ignore[operator]


@pytest.mark.parametrize(("chars", "dropped"), [(19, False), (20, False), (21, True)])
@pytest.mark.parametrize("rule", [gopher.repeated_lines, gopher.repeated_paragraphs])
def test_gopher_border_of_repeated_characters(rule: object, chars: int, dropped: bool) -> None:
    """A repeat of so many characters in a text of 100, in few lines."""
    gap = "\n\n"
    unique = [f"{n}{'u' * 9}" for n in range(4)]
    rest = 100 - 2 * chars - len(gap) * (len(unique) + 2) - sum(map(len, unique))
    text = gap.join(["r" * chars, "r" * chars, *unique, "v" * rest])
    assert len(text) == 100
    assert (rule(Profile(text), CONFIG) is not None) is dropped  # type: ignore[operator]


def test_repetition_is_named_before_quality_and_paragraphs_before_lines() -> None:
    text = "\n\n".join(["the same words of it"] * 5)
    found = [reason for rule in gopher.RULES if (reason := rule(Profile(text), CONFIG))]
    assert found[:2] == [Reason.GOPHER_REPEATED_PARAGRAPHS, Reason.GOPHER_REPEATED_LINES]
    assert found.index(Reason.GOPHER_WORDS) > 1


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("Two words.", False),
        ("Now three words.", True),
        ("Now three words", False),
        ("Now three words...", False),
        ("Now three " + "w" * 999 + ".", True),
        ("Now three " + "w" * 1000 + ".", False),
        ("We use cookies here.", False),
        ("This needs JavaScript now.", False),
    ],
)
def test_c4_lines(line: str, kept: bool) -> None:
    assert c4.kept_lines(line, C4Config(), punctuation=True) == (line if kept else "")


@pytest.mark.parametrize(("count", "dropped"), [(4, True), (5, False), (6, False)])
def test_c4_sentences(count: int, dropped: bool) -> None:
    assert (c4.sentences(Profile("One here. " * count), C4Config()) is not None) is dropped


@pytest.mark.parametrize(
    ("score", "reason"),
    [(0.4999, Reason.LANGUAGE_UNSURE), (0.5, None), (0.5001, None), (0.0, Reason.LANGUAGE_UNSURE)],
)
def test_the_least_probability_of_a_language(score: float, reason: Reason | None) -> None:
    assert language.judge(Language("en", score), LanguageConfig()) is reason


@pytest.mark.parametrize(
    ("bad", "believed"), [(0, True), (1, True), (5, True), (6, True), (7, False)]
)
def test_a_label_is_believed_up_to_its_share_of_bad_bytes(bad: int, believed: bool) -> None:
    """One, and .005 of the characters: 6 of 1,000."""
    good = "あ" * (1000 - bad)
    body = good.encode("euc-jp") + b"\xff" * bad
    decoded = decode(body, "text/html; charset=euc-jp")
    if bad == 0 or believed:
        assert (decoded.charset, decoded.text.count("\ufffd")) == ("euc_jp", bad)
    else:
        assert decoded.source != "header"


def test_a_text_begins_and_ends_with_words() -> None:
    for text in ("\n\n  words \n", "\u200b\n words\u00a0\n\n", "words\n\n\n\n"):
        assert normalize(text, NormalizeConfig()).text == "words"
    assert normalize("a\n\n\n\nb", NormalizeConfig()).text == "a\n\nb"


@pytest.mark.parametrize(("zeros", "codec"), [(10, None), (11, "utf-16-le"), (20, "utf-16-le")])
def test_utf16_is_told_by_more_than_a_sixth_of_zero_bytes(zeros: int, codec: str | None) -> None:
    pairs = [b"a\0"] * zeros + [b"ab"] * (30 - zeros)
    assert _utf16_without_mark(b"".join(pairs)) == codec


@pytest.mark.parametrize(
    ("paragraphs", "dropped"),
    [
        (["a"] * 4 + [f"{n}" * 200 for n in range(6)], False),  # 3 of 10 paragraphs
        (["a"] * 5 + [f"{n}" * 200 for n in range(6)], True),  # 4 of 11, of few characters
        (["x" * 320] * 2 + [f"{n}" * 90 for n in range(10)], True),  # 1 of 12, a fifth and more
        (["x" * 300] * 2 + [f"{n}" * 150 for n in range(10)], False),
    ],
)
def test_paragraphs_repeat_by_number_or_by_characters(paragraphs: list[str], dropped: bool) -> None:
    reason = gopher.repeated_paragraphs(Profile("\n\n".join(paragraphs)), CONFIG)
    assert (reason is not None) is dropped


@pytest.mark.parametrize(
    ("num_unreadable", "reason"), [(2, None), (3, None), (4, Reason.BINARY), (5, Reason.BINARY)]
)
@pytest.mark.parametrize("removed", [True, False])
def test_unreadable_characters_are_one_and_their_share(
    num_unreadable: int, reason: Reason | None, removed: bool
) -> None:
    """Of 100 characters 2 %, and one more."""
    signs = 0 if removed else num_unreadable
    text = "\ufffd" * signs + "a" * (100 - signs)
    found = Normalized(text, (), num_unreadable if removed else 0)
    assert judge(found, NormalizeConfig()) is reason


@pytest.mark.parametrize(
    ("foreign", "length", "guessed"),
    [(3, 10, False), (4, 10, True), (4, 133, True), (4, 134, False), (29, 1000, False), (30, 1000, True)],
)  # fmt: skip
def test_bytes_are_guessed_from_if_enough_are_foreign(
    foreign: int, length: int, guessed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least 4, and 3 % of the sample."""
    asked = []

    def from_bytes(sample: bytes) -> SimpleNamespace:
        asked.append(sample)
        return SimpleNamespace(best=lambda: None)

    monkeypatch.setattr(decode_module.charset_normalizer, "from_bytes", from_bytes)
    body = b"\xe4" * foreign + b"a" * (length - foreign)
    assert decode_module.detect(body) == "cp1252"
    assert bool(asked) is guessed


def test_windows_reach_from_the_first_character_to_the_last() -> None:
    text = "".join(chr(33 + number) for number in range(60))
    assert language.windows(text, 3, 10) == [text[:10], text[25:35], text[50:]]
    assert language.windows(text, 2, 30) == [text[:30], text[30:]]
    assert language.windows(text, 4, 15) == [text[:15], text[15:30], text[30:45], text[45:]]
    # One that fits no second time is the text itself.
    assert language.windows(text, 3, 31) == [text]
    assert language.windows(text, 1, 10) == [text]


def test_only_windows_that_all_agree_make_a_language_surer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = {"a": {"en": 0.6, "fr": 0.4}, "b": {"en": 0.7, "fr": 0.3}, "c": {"en": 0.3, "fr": 0.7}, "": {}}  # fmt: skip
    monkeypatch.setattr(language, "_scores", lambda piece: scores[piece])
    monkeypatch.setattr(language, "MIN_AGREEING", 2)
    assert language._combined(["a", "b"]) == Language("en", 0.88)  # 1 - 0.4 * 0.3
    assert language._combined(["a", "", "b"]) == Language("en", 0.88)
    assert language._combined(["a", "b", "c"]) == Language("en", round(1.6 / 3, 4))
    monkeypatch.setattr(language, "MIN_AGREEING", 3)
    assert language._combined(["a", "b"]) == Language("en", 0.65)


@pytest.mark.parametrize(
    ("others", "codec"), [(0, "utf-16-le"), (2, "utf-16-le"), (3, None), (40, None)]
)
def test_utf16_has_a_twentieth_of_its_zeros_at_most_at_the_other_places(
    others: int, codec: str | None
) -> None:
    sample = b"a\0" * 40 + b"\0b" * others
    assert _utf16_without_mark(sample) == codec


def test_a_line_is_repaired_alone() -> None:
    """ftfy repairs nothing in a text that has a character beyond the charset of the damage."""
    for damaged, line in (
        ("cafÃ©", "café"),
        ("cafÃ© au lait", "café au lait"),
        ("Ã© fin", "é fin"),
    ):
        for before, behind in (("", ""), ("あ\n", "\nあ"), ("\n", "\n\nあ い\n"), ("あ\n", "\n")):
            assert _repaired(before + damaged + behind) == before + line + behind


def test_constants_that_decide_the_language_of_a_page() -> None:
    """No setting changes them, so only this table would notice."""
    found = (language.NUM_WINDOWS, language.MAX_WINDOWS, language.MIN_WINDOW_CHARS, language.SURE)
    assert found == (3, 16, 150, 0.65), "FineWeb keeps English from .65 on"
    assert (language.NUM_LABELS, language.MIN_AGREEING) == (5, 3)


@pytest.mark.parametrize(
    ("score", "length", "again"),
    [(0.6499, 450, True), (0.65, 450, False), (0.6499, 449, False), (0.6499, 10_000, True)],
)
def test_more_windows_are_asked_below_a_sure_score_of_three_least_windows(
    score: float, length: int, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def combined(pieces: list[str]) -> Language:
        asked.append([len(piece) for piece in pieces])
        return Language("en", score)

    monkeypatch.setattr(language, "_combined", combined)
    language.detect("x" * length)
    assert len(asked) == 1 + again
    # Windows of a third of a short text, so that three of them do not overlap.
    assert not again or set(asked[1]) == {min(400, length // 3)}


@pytest.mark.parametrize(("each", "score"), [(0.25, 0.5781), (0.5, 0.5), (0.75, 0.75)])
def test_a_sure_score_stays_as_it_is(
    each: float, score: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 - .75 ** 3 of three windows that agree. A half is sure here: its sums are exact."""
    monkeypatch.setattr(language, "_scores", lambda piece: {"en": each})
    monkeypatch.setattr(language, "SURE", 0.5)
    assert language._combined(["a", "b", "c"]) == Language("en", score)


@pytest.mark.parametrize(
    ("score", "declared", "reason"),
    [(0.25, "en", None), (0.2499, "en", Reason.LANGUAGE_UNSURE), (0.25, None, Reason.LANGUAGE_UNSURE),
     (0.25, "fr", Reason.LANGUAGE_UNSURE)],
)  # fmt: skip
def test_half_the_least_probability_suffices_if_the_page_says_so(
    score: float, declared: str | None, reason: Reason | None
) -> None:
    assert language.judge(Language("en", score), LanguageConfig(), declared) is reason


@pytest.mark.parametrize(
    ("bad", "sound", "least", "believed"),
    [
        (3, 3, 1, True), (3, 2, 1, False), (3, 6, 2, True), (3, 5, 2, False), (0, 0, 2, True),
        (1, 0, 1, False),
    ],
)  # fmt: skip
def test_utf8_is_believed_by_sound_characters_for_each_bad_one(
    bad: int, sound: int, least: int, believed: bool
) -> None:
    text = "\ufffd" * bad + "é" * sound + " plain"
    assert decode_module._is_plausible(text, "utf-8", least) is believed
    # One bad character at the very end is a page that was cut.
    cut = "é" * sound + " plain" + "\ufffd" * bad
    assert decode_module._is_plausible(cut, "utf-8", least) is (believed or bad == 1)


@pytest.mark.parametrize(("zeros", "codec"), [(3, None), (4, "utf-16")])
@pytest.mark.parametrize("order", ["le", "be"])
def test_a_short_text_in_utf16_has_more_than_three_zero_bytes(
    zeros: int, codec: str | None, order: str
) -> None:
    sample = ("a" * zeros).encode(f"utf-16-{order}")
    assert _utf16_without_mark(sample) == (codec and f"{codec}-{order}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a...", None), ("a....", Reason.SYMBOLS), ("1 . . .", None), ("あ---", None), ("あ----", Reason.SYMBOLS),
     ("क्...", None), ("---", Reason.SYMBOLS), ("- " * 3 + "a", None)],
)  # fmt: skip
def test_a_quarter_of_the_characters_are_letters_marks_or_digits(
    text: str, reason: Reason | None
) -> None:
    assert judge(Normalized(text, (), 0), NormalizeConfig()) is reason


@pytest.mark.parametrize(
    ("marks", "joiners"), [(29, 0), (30, 0), (31, 1), (60, 1), (61, 2), (90, 2), (91, 3)]
)
def test_a_joiner_stands_after_each_thirty_marks(marks: int, joiners: int) -> None:
    """UAX 15, section 13: the stream-safe text format."""
    text = normalize("a" + "\u0316" * marks + "b", NormalizeConfig()).text
    assert text.count("\u034f") == joiners
    assert all(len(run.strip("ab")) <= 30 for run in text.split("\u034f"))
    assert len(text) == marks + 2 + joiners


FINEWEB = FineWebConfig()


def endings(ended: int, total: int, chars: int = 40) -> str:
    return "\n".join(f"{n:02}{'x' * (chars - 3)}{'.' if n < ended else 'x'}" for n in range(total))


def repeated_chars(chars: int) -> str:
    """Two equal lines with so many characters each in a text of 400, line ends left out."""
    return "\n".join(["r" * chars, "r" * chars, "u" * (400 - 2 * chars)])


@pytest.mark.parametrize(
    ("rule", "text", "dropped"),
    [
        (fineweb.line_punctuation, endings(2, 17), True),  # .118
        (fineweb.line_punctuation, endings(3, 25), False),  # .12
        (fineweb.line_punctuation, endings(2, 16), False),
        (fineweb.short_lines, endings(67, 67, 30) + "\n" + endings(33, 33, 31), False),  # .67
        (fineweb.short_lines, endings(68, 68, 30) + "\n" + endings(32, 32, 31), True),
        (fineweb.short_lines, endings(2, 2, 30), True),
        (fineweb.short_lines, endings(2, 2, 31), False),
        (fineweb.repeated_lines, repeated_chars(3), False),
        (fineweb.repeated_lines, repeated_chars(4), False),  # .01
        (fineweb.repeated_lines, repeated_chars(5), True),
        (fineweb.newlines, "\n".join(["a b c", "d e f", "g h i", "j"]), False),  # .3
        (fineweb.newlines, "\n".join(["a b c", "d e f", "g h i"]) + "\n", True),
        (fineweb.newlines, "a b\nc d", False),
    ],
)
def test_fineweb_borders(rule: object, text: str, dropped: bool) -> None:
    assert (rule(Profile(text), FINEWEB) is not None) is dropped  # type: ignore[operator]


@pytest.mark.parametrize(
    ("preset", "least"), [("webtext", 50), ("openwebtext", 96), ("gopher", 50), ("fineweb", 50)]
)  # fmt: skip
def test_a_preset_has_its_least_length(preset: Preset, least: int) -> None:
    """Without a value of the setting, which counts if there is one, 0 too."""
    config = QualityConfig(preset=preset)
    for words, short in ((least - 1, True), (least, False)):
        assert (quality.too_short(Profile(distinct(words)), config) is Reason.TOO_SHORT) is short
    assert quality.too_short(Profile(""), QualityConfig(preset=preset, min_words=0)) is None
    assert quality.too_short(Profile("a b"), QualityConfig(preset=preset, min_words=3)) is not None
    assert quality.too_short(Profile(""), QualityConfig(preset="c4")) is None
