"""Rules about sentences rare on other pages: each is enough by itself.

On 4,654 genuine pages, among them articles about captchas and parked domains, no rule of sentences
held (2026-11). The linear model (`model`) judges the rest.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from clean.soft_failures.addresses import SoftFailure
from clean.soft_failures.config import KINDS, Kind
from clean.soft_failures.evidence import PHRASE, TITLE, ZONE
from clean.soft_failures.features import LEAST_WORDS, PhraseFindings
from clean.soft_failures.lexicon import FIRST_SURE, GROUPS, SURE, Lexicon
from clean.soft_failures.sheet import (
    FRAMES,
    MAIN,
    NUM_WORDS,
    PASSWORD,
    PROSE,
    REFRESH,
    SCRIPT_MOVE,
    Sheet,
)

# A title of a sentence: (least words, least share of the title, most words of main text).
_TITLES: Final = ((3, 0.5, 1500), (2, 0.9, 600))
# A body of sentences: (least words of the longest, least share of the main text).
_BODIES: Final = ((5, 0.12), (4, 0.25))
MAX_BODY_WORDS: Final = 500
# A form to log in: most words of main text and of prose.
MAX_LOGIN_WORDS, MAX_LOGIN_PROSE = 160, 120
# Phrases of one kind filling a short page: distinct ones, share of the words, most words.
DENSE_PHRASES, DENSE_SHARE, MAX_DENSE_WORDS = 5, 0.12, 300
_DENSE: Final[tuple[tuple[str, Kind], ...]] = (
    ("consent", "consent_wall"),
    ("age", "age_gate"),
    ("hijack", "hijacked"),
)
# Distinct advertisements of a doorway page, in its title and first words.
SPAM_PHRASES: Final = 6
SPAM_GROUPS: Final = [GROUPS.index("hijack"), GROUPS.index(SURE + "hijacked")]
# Words below which a page that loads or moves by script shows nothing.
MAX_STUB_WORDS: Final = 10
MAX_TEASER_WORDS: Final = 200

_LISTING: Final = re.compile(r"\s*index of\s+/", re.I)
_FOR_SALE: Final = re.compile(
    r"\b[\w-]+\.[a-z]{2,12}\s+(?:domain\s+)?(?:(?:is|may be|might be)\s+)?(?:still\s+)?(?:available\s+)?"
    r"for\s+sales?\b",
    re.I,
)
_SHELL: Final = re.compile(
    r"<script\b|\bid\s*=\s*[\"']?(?:root|app|__next|application|main-app)\b|<app-root", re.I
)
_NOT_FREE: Final = re.compile(r"isAccessibleForFree\"?\s*:\s*\"?false", re.I)

# The zones' weight for the kind of a page.
_ZONE_WEIGHTS: Final = (3.0, 2.0, 1.0, 0.2, 0.5)
# Kinds supported by the groups of phrases, and their weight against a sure sentence.
GROUP_WEIGHT: Final = 0.35
_KIND_OF_GROUP: Final[dict[str, Kind]] = {
    "absent": "soft_404",
    "code_404": "soft_404",
    "hosting": "soft_404",
    "failure": "error_page",
    "denied": "bot_wall",
    "robot": "bot_wall",
    "login": "login_wall",
    "script": "js_required",
    "parked": "parked",
    "server": "server_default",
    "consent": "consent_wall",
    "paywall": "paywall_teaser",
    "age": "age_gate",
    "geo": "geo_block",
    "redirect": "redirect_stub",
    "hijack": "hijacked",
}


def by_title(title: str | None) -> SoftFailure | None:
    """A listing of a folder, or an offer of a domain, by its title alone."""
    if title and _LISTING.match(title):
        return SoftFailure("server_default", f"title {title[:60]!r}")
    if title and _FOR_SALE.search(title):
        return SoftFailure("parked", f"title {title[:60]!r}")
    return None


def by_sentences(page: Sheet, found: PhraseFindings, lexicon: Lexicon) -> SoftFailure | None:
    """Sentences making up the title, or a good share of a short page."""
    main = page.counts[MAIN]
    for least, share, most in _TITLES:
        if found.longest[TITLE] >= least and found.title_share >= share and main < most:
            return SoftFailure(kind_of(page, found, lexicon), shown(found, lexicon))

    longest = found.longest[TITLE + 1 :].max()
    for least, share in _BODIES:
        if longest >= least and found.main_share >= share and main < MAX_BODY_WORDS:
            return SoftFailure(kind_of(page, found, lexicon), shown(found, lexicon))

    return None


def by_spam(found: PhraseFindings, lexicon: Lexicon) -> SoftFailure | None:
    """Many advertisements of trades on dead sites, one in the title.

    It holds for pages of any length: doorway pages have thousands of words.
    """
    if not found.groups[TITLE, SPAM_GROUPS[-1]]:
        return None
    spam = np.any(lexicon.groups[:, SPAM_GROUPS], axis=1)
    phrases = {int(row[PHRASE]) for row in found.matches if spam[row[PHRASE]]}
    if len(phrases) < SPAM_PHRASES:
        return None
    shown_of = shown(found, lexicon, SURE + "hijacked")
    return SoftFailure("hijacked", f"{len(phrases)} phrases such as {shown_of}")


def by_form(page: Sheet, found: PhraseFindings, lexicon: Lexicon) -> SoftFailure | None:
    """A login form, under a title that says so, and little else."""
    if not page.flags[PASSWORD] or not found.groups[TITLE, GROUPS.index("login")]:
        return None
    if page.counts[MAIN] >= MAX_LOGIN_WORDS or page.counts[PROSE] >= MAX_LOGIN_PROSE:
        return None
    return SoftFailure("login_wall", f"{shown(found, lexicon)}, a field for a password")


def by_density(page: Sheet, found: PhraseFindings, lexicon: Lexicon) -> SoftFailure | None:
    """Many phrases of one kind on a page with little else."""
    words = page.counts[NUM_WORDS]
    if words >= MAX_DENSE_WORDS:
        return None

    for group, kind in _DENSE:
        number = GROUPS.index(group)
        if not found.groups[:2, number].any():
            continue
        phrases = {int(row[PHRASE]) for row in found.matches if lexicon.groups[row[PHRASE], number]}
        size = sum(int(lexicon.num_words[phrase]) for phrase in phrases)
        if len(phrases) >= DENSE_PHRASES and size >= DENSE_SHARE * max(words, LEAST_WORDS):
            return SoftFailure(
                kind, f"{len(phrases)} phrases such as {shown(found, lexicon, group)}"
            )

    return None


def by_teaser(
    page: Sheet, found: PhraseFindings, lexicon: Lexicon, html: str
) -> SoftFailure | None:
    """The opening of a paid article, by its own metadata and an offer to subscribe."""
    offered = found.groups[:, GROUPS.index(SURE + "paywall_teaser")].any()
    if not offered or page.counts[MAIN] >= MAX_TEASER_WORDS or not _NOT_FREE.search(html):
        return None
    return SoftFailure("paywall_teaser", f"{shown(found, lexicon)}, isAccessibleForFree is false")


def by_emptiness(page: Sheet, html: str) -> SoftFailure | None:
    """A page showing nothing: it moves on, frames another one, or needs its scripts."""
    if page.counts[NUM_WORDS] >= MAX_STUB_WORDS:
        return None

    words = f"{int(page.counts[NUM_WORDS])} visible words"
    if page.flags[REFRESH]:
        return SoftFailure("redirect_stub", f"{words}, a refresh to another address")
    if page.flags[SCRIPT_MOVE]:
        return SoftFailure("redirect_stub", f"{words}, a script that goes to another address")
    if page.flags[FRAMES]:
        return SoftFailure("redirect_stub", f"{words}, frames of other pages")
    if _SHELL.search(html):
        return SoftFailure("js_required", f"{words}, scripts that would show the rest")

    return None


def kind_of(page: Sheet, found: PhraseFindings, lexicon: Lexicon) -> Kind:
    """The kind supported by most phrases, by their place and words."""
    # Without a phrase, the weakest claim is taken: the page is not there.
    scores = dict.fromkeys(KINDS, 0.0) | {"soft_404": 0.01}
    for phrase, zone in {(int(row[PHRASE]), int(row[ZONE])) for row in found.matches}:
        weight = _ZONE_WEIGHTS[zone] * float(lexicon.num_words[phrase]) ** 0.5
        for number in lexicon.groups[phrase].nonzero()[0].tolist():
            name = GROUPS[number]
            if number >= FIRST_SURE:
                scores[_sure_kind(name)] += weight
            elif name in _KIND_OF_GROUP:
                scores[_KIND_OF_GROUP[name]] += GROUP_WEIGHT * weight

    # A thing and its absence in one line are as good as a sentence.
    scores["soft_404"] += float(found.zones[:, 2] @ _ZONE_WEIGHTS)
    if page.flags[PASSWORD]:
        scores["login_wall"] *= 2

    return max(KINDS, key=lambda kind: scores[kind])


def shown(found: PhraseFindings, lexicon: Lexicon, group: str | None = None) -> str:
    """The strongest phrases and their places, as evidence for a reader."""
    seen: dict[str, tuple[float, str]] = {}
    for row in found.matches:
        phrase, zone = int(row[PHRASE]), int(row[ZONE])
        if group is not None and not lexicon.groups[phrase, GROUPS.index(group)]:
            continue
        if group is None and lexicon.groups[phrase, 0] and not lexicon.sure[phrase]:
            continue
        value = _ZONE_WEIGHTS[zone] * float(lexicon.num_words[phrase])
        value *= 2.0 if lexicon.sure[phrase] else 1.0
        text = lexicon.phrases[phrase]
        if value > seen.get(text, (0.0, ""))[0]:
            seen[text] = (value, _PLACES[zone])

    best = sorted(seen.items(), key=lambda item: (-item[1][0], item[0]))[:2]
    return ", ".join(f'"{text}" {place}' for text, (_, place) in best) or NO_PHRASE


NO_PHRASE: Final = "no phrase"
_PLACES: Final = (
    "in the title",
    "in a heading",
    "in the opening words",
    "in a link",
    "in the text",
)


def _sure_kind(group: str) -> Kind:
    return next(kind for kind in KINDS if kind == group.removeprefix(SURE))
