"""The table of characters is that of current Unicode, by other software, for every code point."""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Callable

import numpy as np
import pytest
import regex

from corpus.storage.store import manifest_path, table_dir
from dedup import folding, words
from tests.dedup.made import MadeCorpus, Page
from tests.dedup.test_run import SMALL

# Of letters between which a line may break without a space, Hangul aside.
BREAKS_ANYWHERE = "|".join(
    f"\\p{{Line_Break={each}}}" for each in ("SA", "ID", "CJ", "AK", "AS", "AP")
)
UNSPACED_SCRIPTS = (
    *("Thai", "Lao", "Myanmar", "Khmer", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet"),
    *("Balinese", "Batak", "Javanese", "Cham", "Brahmi", "Grantha", "Tulu_Tigalari", "Ahom"),
    *("Dives_Akuru", "Makasar", "Kawi", "Gurung_Khema", "Tangut", "Nushu", "Yi", "Bopomofo"),
    *("Han", "Hiragana", "Katakana", "Jurchen", "Seal"),
)
STRETCHES = {0x0640, 0x07FA, 0x0883, 0x0884, 0x0885}
TRADEMARKS = "™℠🅪🅫🅬"


def points_of(pattern: str, text: str) -> set[int]:
    return {ord(each) for each in regex.findall(f"(?:{pattern})", text)}


def test_every_code_point_counts_as_current_unicode_says() -> None:
    """`regex` has properties and versions of its own; decompositions are this Python's."""
    table = folding.load()
    text = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    unknown = points_of(r"\p{Cn}|\p{Co}", text)
    plain = points_of(r"\p{Decomposition_Type=None}", text)
    cased = points_of(r"\p{Changes_When_Casefolded}", text) | {0x131}
    word = points_of(r"[\p{L}\p{N}\p{Mn}\p{Mc}]", text)
    ignored = points_of(r"\p{Cf}|\p{Me}|\p{Variation_Selector}|\u034f|\u180f", text) | STRETCHES
    ignored |= points_of(r"\p{M}", text) - points_of(r"\p{Canonical_Combining_Class=0}", text)
    spaceless = points_of(BREAKS_ANYWHERE, text) & points_of(r"\p{L}", text)
    spaceless -= points_of(r"\p{Hangul}", text)
    scripts = "|".join(f"\\p{{Script={each}}}" for each in UNSPACED_SCRIPTS)
    may_be_alone = points_of(f"{scripts}|\\p{{Script=Common}}|\\p{{Script=Inherited}}", text)

    points = np.arange(0x110000)
    alone = points | folding.ALONE
    absent = np.isin(points, [*unknown, *range(0xD800, 0xE000)])
    # The planes of Han are reserved for it, whatever is assigned.
    expected = np.where((points >= 0x20000) & (points < 0x3FFFE), alone, folding.BREAK)
    itself = np.isin(points, [*(word & plain) - cased])
    expected[itself] = np.where(np.isin(points, [*spaceless]), alone, points)[itself]
    expected[np.isin(points, [*ignored])] = folding.NOTHING
    simple = absent | np.isin(points, [*plain - cased])
    # Digits and vowel signs of these scripts stand alone as well.
    also = itself & (table.codes == alone) & np.isin(points, [*may_be_alone])
    wrong = points[simple & (table.codes != expected) & ~also].tolist()

    for point in points[~simple].tolist():
        if chr(point) in TRADEMARKS or unicodedata.category(chr(point)) == "Cn":
            continue
        spelled = [ord(each) for each in folded(chr(point)) if ord(each) not in ignored]
        letters = [ord("i") if each == 0x131 else each for each in spelled if each in word]
        found = [code for code in table.of(point) if code != folding.BREAK]
        stands_alone = [code >= folding.ALONE for code in found]
        must = [each in spaceless for each in letters]
        if [code & ~folding.ALONE for code in found] != letters or any(
            map(operator.lt, stands_alone, must)
        ):
            wrong.append(point)

    assert [hex(point) for point in wrong] == []


def folded(text: str) -> str:
    while True:
        once = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        if once == text:
            return text
        text = once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Windows™ Word℠", ["windows", "word"]),
        ("كتـــاب", ["كتاب"]),
        ("ISPARTA ısparta İsparta", ["isparta"] * 3),
        ("ꦲꦏ꧀ꦱ", ["ꦲ", "ꦏ", "ꦱ"]),
        ("\U000323b0\U00033479", ["\U000323b0", "\U00033479"]),
        ("\U00016ea0\U00016ebb", ["\U00016ebb\U00016ebb"]),
    ],
)
def test_words_of_scripts(text: str, expected: list[str]) -> None:
    """Trademarks, stretched words, Turkish, Javanese, late Han and case that Python may not know."""
    assert [word for word, _, _ in words.split_words(text)] == expected


def test_no_character_gives_more_words_than_there_is_room_for() -> None:
    table = folding.load()
    for point in np.flatnonzero(table.codes >= folding.EXPANSION).tolist():
        most = len(words.split_words(chr(point)))
        assert most <= words.MOST_WORDS_PER_BYTE * len(chr(point).encode())


def test_expansions_do_not_expand_again() -> None:
    table = folding.load()
    assert not (table.expansions >= folding.EXPANSION).any()
    assert not (table.expansions == folding.NOTHING).any()


def test_an_index_of_another_rule_is_refused_until_it_is_rebuilt(
    made_corpus: Callable[[], MadeCorpus], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tables stay readable."""
    corpus = made_corpus()
    corpus.add("one", [Page("a b c d e f")], 1)
    assert corpus.dedup("one", *SMALL) == 0
    path = manifest_path(table_dir("bands", "one"))
    written = corpus.store.read_bytes(path)
    corpus.store.write_bytes(path, written.replace(b"words-2", b"words-1"))
    corpus.add("two", [Page("a b c d e f g")], 1)
    assert corpus.dedup("two", *SMALL) == 2
    assert "by the rule 'words-1'" in capsys.readouterr().err
    assert corpus.fates("one")
