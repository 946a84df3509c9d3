"""Rules of soft failures at their exact borders, on counts of pages that are made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clean.soft_failures import rules
from clean.soft_failures.evidence import PHRASE, TITLE, ZONE
from clean.soft_failures.lexicon import FIRST_SURE, GROUPS, SURE
from clean.soft_failures.sheet import (
    FRAMES,
    MAIN,
    NUM_WORDS,
    PASSWORD,
    PROSE,
    REFRESH,
    SCRIPT_MOVE,
)

HEADING, OPENING, LINK, TEXT = range(1, 5)
NUM_ZONES = 5


def page(counts: dict[int, int] | None = None, *flags: int) -> Any:
    return SimpleNamespace(
        counts=dict.fromkeys((MAIN, NUM_WORDS, PROSE), 0) | (counts or {}),
        flags=dict.fromkeys((PASSWORD, REFRESH, SCRIPT_MOVE, FRAMES), False)
        | dict.fromkeys(flags, True),
    )


def lexicon(*phrases: tuple[str, int]) -> Any:
    """Phrases with their group and their words."""
    groups = np.zeros((max(1, len(phrases)), len(GROUPS)), bool)
    for row, (group, _) in enumerate(phrases):
        groups[row, GROUPS.index(group)] = True
    return SimpleNamespace(
        groups=groups,
        num_words=[words for _, words in phrases],
        phrases=[f"phrase {row}" for row in range(len(phrases))],
        sure=[group.startswith(SURE) for group, _ in phrases],
    )


def findings(
    *zones: int,
    groups: tuple[tuple[int, str], ...] = (),
    longest: dict[int, int] | None = None,
    **shares: float,
) -> Any:
    """Phrase n is in the n-th zone."""
    matches = np.zeros((len(zones), max(PHRASE, ZONE) + 1), int)
    for row, zone in enumerate(zones):
        matches[row, [PHRASE, ZONE]] = row, zone
    by_zone = np.zeros((NUM_ZONES, len(GROUPS)), int)
    for zone, group in groups:
        by_zone[zone, GROUPS.index(group)] = 1
    lengths = np.zeros(NUM_ZONES, int)
    for zone, words in (longest or {}).items():
        lengths[zone] = words
    return SimpleNamespace(
        matches=matches,
        groups=by_zone,
        longest=lengths,
        zones=np.zeros((NUM_ZONES, 3)),
        **({"title_share": 0.0, "main_share": 0.0} | shares),
    )


@pytest.mark.parametrize(
    ("words", "share", "main", "holds"),
    [(3, 0.5, 1499, True), (2, 0.5, 1499, False), (3, 0.4999, 1499, False), (3, 0.5, 1500, False),
     (2, 0.9, 599, True), (1, 0.9, 599, False), (2, 0.8999, 599, False), (2, 0.9, 600, False)],
)  # fmt: skip
def test_a_title_of_a_sentence(words: int, share: float, main: int, holds: bool) -> None:
    found = findings(TITLE, longest={TITLE: words}, title_share=share)
    judged = rules.by_sentences(page({MAIN: main}), found, lexicon(("absent", words)))
    assert (judged is not None) is holds


@pytest.mark.parametrize("zone", [HEADING, OPENING, LINK, TEXT])
@pytest.mark.parametrize(
    ("words", "share", "main", "holds"),
    [(5, 0.12, 499, True), (4, 0.12, 499, False), (5, 0.1199, 499, False), (5, 0.12, 500, False),
     (4, 0.25, 499, True), (3, 0.25, 499, False), (4, 0.2499, 499, False), (4, 0.25, 500, False)],
)  # fmt: skip
def test_a_body_of_sentences(words: int, share: float, main: int, holds: bool, zone: int) -> None:
    found = findings(zone, longest={zone: words}, main_share=share)
    judged = rules.by_sentences(page({MAIN: main}), found, lexicon(("absent", words)))
    assert (judged is not None) is holds


@pytest.mark.parametrize(
    ("main", "prose", "holds"), [(159, 119, True), (160, 119, False), (159, 120, False)]
)
def test_a_form_to_log_in_has_little_else(main: int, prose: int, holds: bool) -> None:
    found, words = findings(TITLE, groups=((TITLE, "login"),)), lexicon(("login", 2))
    counts = {MAIN: main, PROSE: prose}
    assert (rules.by_form(page(counts, PASSWORD), found, words) is not None) is holds
    assert rules.by_form(page(counts), found, words) is None
    assert rules.by_form(page(counts, PASSWORD), findings(TITLE), words) is None


@pytest.mark.parametrize(
    ("group", "kind"), [("consent", "consent_wall"), ("age", "age_gate"), ("hijack", "hijacked")]
)
@pytest.mark.parametrize(
    ("num_phrases", "sizes", "total", "holds"),
    [(5, 36, 299, True), (5, 36, 300, False), (4, 36, 299, False), (5, 35, 299, False), (5, 36, 298, True), (5, 12, 100, True), (5, 11, 100, False)],
)  # fmt: skip
def test_phrases_of_one_kind_fill_a_short_page(
    num_phrases: int, sizes: int, total: int, holds: bool, group: str, kind: str
) -> None:
    """Five distinct ones, in the title or a heading too, and 12 % of the words."""
    words = lexicon((group, sizes - num_phrases + 1), *((group, 1),) * (num_phrases - 1))
    for zone, counts in ((TITLE, True), (HEADING, True), (OPENING, False)):
        found = findings(*(OPENING,) * num_phrases, groups=((zone, group),))
        judged = rules.by_density(page({NUM_WORDS: total}), found, words)
        assert (judged.kind if judged is not None else None) == (kind if holds and counts else None)


@pytest.mark.parametrize(("num_phrases", "holds"), [(5, False), (6, True)])
def test_six_advertisements_are_a_doorway(num_phrases: int, holds: bool) -> None:
    names = ("hijack", SURE + "hijacked")
    words = lexicon(*((names[number % 2], 2) for number in range(num_phrases)))
    found = findings(*(TITLE,) * num_phrases, groups=((TITLE, names[1]),))
    assert (rules.by_spam(found, words) is not None) is holds
    assert rules.by_spam(findings(*(TITLE,) * 9, groups=((TITLE, names[0]),)), words) is None


@pytest.mark.parametrize(("main", "holds"), [(199, True), (200, False)])
def test_a_teaser_is_short_and_not_free(main: int, holds: bool) -> None:
    group = SURE + "paywall_teaser"
    found, words = findings(TEXT, groups=((TEXT, group),)), lexicon((group, 3))
    html = '"isAccessibleForFree": false'
    assert (rules.by_teaser(page({MAIN: main}), found, words, html) is not None) is holds
    assert rules.by_teaser(page({MAIN: main}), found, words, "") is None


@pytest.mark.parametrize(("num_words", "holds"), [(9, True), (10, False)])
@pytest.mark.parametrize(
    ("flag", "kind"), [(REFRESH, "redirect_stub"), (SCRIPT_MOVE, "redirect_stub"), (FRAMES, "redirect_stub"), (None, "js_required")]
)  # fmt: skip
def test_a_page_of_nine_words_shows_nothing(
    flag: int | None, kind: str, num_words: int, holds: bool
) -> None:
    made = page({NUM_WORDS: num_words}, *([] if flag is None else [flag]))
    judged = rules.by_emptiness(made, "<script>" if flag is None else "")
    assert (judged.kind if judged is not None else None) == (kind if holds else None)


@pytest.mark.parametrize(
    ("zone", "words", "less", "more"),
    [(TITLE, 1, 8, 10), (HEADING, 1, 3, 5), (LINK, 36, 1, 2), (TEXT, 9, 2, 3), (OPENING, 4, 3, 5)],
)
def test_a_place_has_its_weight_times_the_root_of_the_words(
    zone: int, words: int, less: int, more: int
) -> None:
    """Against a phrase of another kind in the opening words, with fewer and with more words."""
    for other, kind in ((less, "parked"), (more, "geo_block")):
        known = lexicon((SURE + "parked", words), (SURE + "geo_block", other))
        assert rules.kind_of(page(), findings(zone, OPENING), known) == kind


@pytest.mark.parametrize(("words", "kind"), [(8, "geo_block"), (9, "parked")])
def test_a_group_has_a_third_of_the_weight_of_a_sentence(words: int, kind: str) -> None:
    known = lexicon(("parked", words), (SURE + "geo_block", 1))
    assert rules.kind_of(page(), findings(OPENING, OPENING), known) == kind


def test_a_page_without_phrases_is_missing_and_a_password_counts_double() -> None:
    assert rules.kind_of(page(), findings(), lexicon()) == "soft_404"
    known = lexicon((SURE + "login_wall", 1), (SURE + "geo_block", 3))
    assert rules.kind_of(page(), findings(OPENING, OPENING), known) == "geo_block"
    assert rules.kind_of(page(None, PASSWORD), findings(OPENING, OPENING), known) == "login_wall"


def test_evidence_names_the_first_of_equal_places() -> None:
    """A phrase of a title has the greatest weight; of equals the first one found is named."""
    known = lexicon((GROUPS[FIRST_SURE], 3))
    assert rules.kind_of(page(), findings(TITLE), known) == GROUPS[FIRST_SURE].removeprefix(SURE)
    found = findings(TITLE, TEXT)
    found.matches[:, PHRASE] = 0
    assert rules.shown(found, known) == '"phrase 0" in the title'
