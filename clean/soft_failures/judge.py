"""The judge of soft failures: an answer and its page in, the kind of failure or None out.

A pure function. It asks for cheap and certain evidence first: headers, the address after redirects,
the title, sentences rare on other pages, and last the linear model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from clean.learned.blocks import PageBlocks, blocks
from clean.soft_failures import addresses, rules
from clean.soft_failures.addresses import SoftFailure, StoredAnswer
from clean.soft_failures.config import SoftFailuresConfig
from clean.soft_failures.evidence import TITLE
from clean.soft_failures.features import features, findings
from clean.soft_failures.lexicon import lexicon
from clean.soft_failures.model import model
from clean.soft_failures.sheet import MAIN, PASSWORD, Sheet, sheet, title_sheet
from corpus.compiled_registry import example

# Words of main text above which only headers, address and title can make a page a failure.
MAX_JUDGED_WORDS: Final = 600
MAX_TITLED_WORDS: Final = 1500
# Words of main text below which a page without a telling phrase is left to the rules of length: so
# few say nothing of what the page is.
MIN_JUDGED_WORDS: Final = 25
# Statuses of errors; 404 and 410 are those of an absent page.
LEAST_ERROR: Final = 400
_ABSENT: Final = frozenset((404, 410))


class JudgedPage(NamedTuple):
    """A page as the extractor leaves it."""

    blocks: PageBlocks
    html: str
    title: str | None
    marks: Mapping[str, str]
    main_words: int


def judge(answer: StoredAnswer, page: JudgedPage, config: SoftFailuresConfig) -> SoftFailure | None:
    """The kind of soft failure of an answer, or None for a page."""
    if not config.remove:
        return None

    found = _judged(answer, page, config)
    return None if found is None or found.kind in config.keep else found


def judge_answer(answer: StoredAnswer, config: SoftFailuresConfig) -> SoftFailure | None:
    """As `judge`, for an answer whose body is not HTML."""
    found = _refused(answer) if config.remove else None
    return None if found is None or found.kind in config.keep else found


def _judged(
    answer: StoredAnswer, page: JudgedPage, config: SoftFailuresConfig
) -> SoftFailure | None:
    if (refused := _refused(answer)) is not None:
        return refused

    paper = _sheet(page)
    password = bool(paper.flags[PASSWORD])
    if (astray := addresses.led_astray(answer, password=password)) is not None:
        return astray
    if (titled := rules.by_title(page.title)) is not None:
        return titled
    if page.main_words >= MAX_JUDGED_WORDS and (spam := _as_spam(paper, page)) is not None:
        return spam
    if page.main_words >= MAX_TITLED_WORDS:
        return _as_home(answer, page, config)

    return (
        _by_phrases(paper, page.html, config)
        or rules.by_emptiness(paper, page.html)
        or _as_home(answer, page, config)
    )


def _as_home(
    answer: StoredAnswer, page: JudgedPage, config: SoftFailuresConfig
) -> SoftFailure | None:
    if not config.home_marks:
        return None
    return addresses.answers_as_home(answer, page.html, page.marks)


def _as_spam(paper: Sheet, page: JudgedPage) -> SoftFailure | None:
    """A long page found to be a doorway by its title and phrases."""
    words = lexicon()
    if not findings(paper, words).groups[TITLE, rules.SPAM_GROUPS[-1]]:
        return None
    whole = sheet(page.blocks, page.html, page.title, dict(page.marks), page.main_words)
    return rules.by_spam(findings(whole, words), words)


def _refused(answer: StoredAnswer) -> SoftFailure | None:
    if (refused := addresses.refused(answer)) is not None:
        return refused
    if answer.status is not None and answer.status >= LEAST_ERROR:
        return SoftFailure(
            "soft_404" if answer.status in _ABSENT else "error_page", f"status {answer.status}"
        )
    return None


def _sheet(page: JudgedPage) -> Sheet:
    if page.main_words >= MAX_JUDGED_WORDS:
        return title_sheet(page.title, page.main_words)
    return sheet(page.blocks, page.html, page.title, dict(page.marks), page.main_words)


def _by_phrases(paper: Sheet, html: str, config: SoftFailuresConfig) -> SoftFailure | None:
    words = lexicon()
    found = findings(paper, words)
    if (sure := rules.by_sentences(paper, found, words)) is not None:
        return sure
    if (spam := rules.by_spam(found, words)) is not None:
        return spam
    if paper.counts[MAIN] >= MAX_JUDGED_WORDS or not found.matches.size:
        return None

    for rule in (rules.by_form, rules.by_density):
        if (told := rule(paper, found, words)) is not None:
            return told
    if (teaser := rules.by_teaser(paper, found, words, html)) is not None:
        return teaser

    shown = rules.shown(found, words)
    if shown == rules.NO_PHRASE and paper.counts[MAIN] < MIN_JUDGED_WORDS:
        return None

    score = model().score(features(paper, found))
    if score <= config.threshold:
        return None
    return SoftFailure(
        rules.kind_of(paper, found, words),
        f"{shown}, {int(paper.counts[MAIN])} words of text, "
        f"score {score:.2f}, allowed {config.threshold:g}: clean.soft_failures.threshold",
    )


@example
def prepare() -> None:
    """Load or compile the judge's loops and read its tables, so that no page is charged for it."""
    lexicon()
    model()
    html = "<title>Not found</title><p>" + "The page is gone. " * MIN_JUDGED_WORDS
    page = JudgedPage(blocks(html.encode()), html, "Not found", {}, 4 * MIN_JUDGED_WORDS)
    address = "http://site.test/"
    judge(StoredAnswer(address, address, 200), page, SoftFailuresConfig())
