"""Meanings of tags, attributes and words for the learned extractor, as tables for compiled code.

Names are few and short, so they are looked up exactly: up to twelve characters fit one 64-bit
number. Hint words are found in the values of `class`, `id` and similar attributes by one automaton
(Aho and Corasick, 1975), in one step per character. Long ones are found anywhere (`mainContent`,
`articlebody`), short ones only as a word of their own (`nav`, `ad`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final, NamedTuple

import numpy as np

# Tag flags. The tag ends a run of text.
BLOCK: Final = 1
# The element has no content and no end tag.
VOID: Final = 2
# The content is not markup, and not text of the page.
RAW: Final = 4
# The content is markup, but not text of the page.
SKIP: Final = 8
# The start tag ends an open paragraph.
CLOSES_P: Final = 16
# End tags do not reach beyond the element.
SCOPE: Final = 32
# The start tag does not end the head.
IN_HEAD: Final = 64
HEADING: Final = 128
BOLD: Final = 256
TABLE_PART: Final = 512
# Part of a form.
FIELD: Final = 1024

_VOID = "area base br col embed hr img input link meta param source track wbr"
_RAW = "script style textarea title xmp iframe noembed noframes"
# <noscript> is read as by a browser without scripts: some forums keep the whole thread there.
# Readings of characters (<rt>) would split their words.
_SKIP = "head select svg template object canvas audio video map datalist rt rp rtc"
_TABLE = "table caption colgroup tbody thead tfoot tr td th"
_CLOSES_P = (
    "address article aside blockquote center details dialog dir div dl dd dt fieldset figcaption figure footer form "
    "h1 h2 h3 h4 h5 h6 header hgroup hr li main menu nav ol p pre search section summary table ul xmp"
)
_BLOCK = (
    _CLOSES_P
    + " "
    + _TABLE
    + " body html head button legend noscript select textarea iframe frameset frame title"
)
_INLINE = "a abbr b bdi bdo cite code del dfn em font i ins kbd label mark q rb ruby s samp small span strong sub sup time tt u var picture math"
# Known tags. The number of a tag is its place here plus one, 0 is any other.
TAGS: Final = tuple(dict.fromkeys(f"{_BLOCK} {_VOID} {_RAW} {_SKIP} {_INLINE}".split()))
TAG: Final[Mapping[str, int]] = {name: number for number, name in enumerate(TAGS, 1)}

# Kinds of attribute to read, from 1.
ATTRIBUTES: Final = (
    "hints",
    "style",
    "hidden",
    "aria-hidden",
    "href",
    "name",
    "property",
    "rel",
    "content",
    "open",
)
_HINTING = "class id role itemprop itemtype data-testid aria-label"

# Hint words up to this length count only as words of their own.
SHORT_HINT: Final = 4
# Words with the meaning of another hint word.
_ALSO: Final[Mapping[str, str]] = {
    "forum": "discuss discourse phpbb xenforo vbulletin mybb smf vanilla flarum nodebb bulletin boards",
    "comment": "disqus komment respond replies",
    "product": "woocommerce shopify magento sku",
    "doc": "docs sphinx mkdocs docusaurus readthedocs gitbook wiki",
    "blog": "weblog",
    "news": "newsarticle",
    "sponsor": "advert taboola outbrain dfp",
    "cookie": "gdpr onetrust",
    "share": "sharing addthis addtoany",
    "paywall": "premium piano",
    "relat": "recirc jetpack",
}
_HINTS = (
    "nav menu foot head side comment share social relat promo ad ads banner cookie popup breadcrumb content article "
    "post entry main body text story title meta author byline date caption widget list link tag newsletter "
    "subscri login search recommend more product desc review forum message reply quote sponsor copyright toolbar "
    "modal page wrap container col row item card teaser gallery image video print hidden sr skip headline "
    "section detail price question answer code doc sidebar topic thread user avatar profile bio signature "
    "feature block info summary lead intro grid carousel slide accordion tab faq cart shop rating category "
    "archive pagin next footer header consent overlay drop panel toc action button label read "
    "blog news single home paywall trend popular latest hero testimonial disclaimer reference"
)
HINTS: Final = tuple(_HINTS.split())
# Hints that are searched in metadata of the page: its kind, generator, address, and class of its
# body.
PAGE_MARKS: Final = [
    "forum",
    "thread",
    "topic",
    "product",
    "article",
    "post",
    "blog",
    "news",
    "question",
    "shop",
    "doc",
    "category",
    "archive",
    "list",
    "comment",
    "review",
    "home",
    "single",
]
CHANNEL_TAGS: Final = [
    "p",
    "div",
    "li",
    "td",
    "h1",
    "h2",
    "h3",
    "h4",
    "blockquote",
    "pre",
    "a",
    "article",
    "main",
    "aside",
    "header",
    "footer",
    "nav",
    "section",
    "figure",
    "figcaption",
    "form",
    "dd",
    "dt",
    "table",
    "ul",
    "ol",
    "button",
    "code",
    "label",
    "details",
    "tr",
    "th",
    "span",
    "em",
    "strong",
    "time",
    "noscript",
]
# A channel per hint word and per telling tag: how near above a block it is.
NUM_CHANNELS: Final = len(HINTS) + len(CHANNEL_TAGS)

GROUPS: Final[Mapping[str, str]] = {
    "stop": (
        "the of and to a in that is was he for it with as his on be at i this had not are but from or have an they "
        "which one you were her she there would their we him been has when who will if out so said what up its into "
        "than them can only some could time these two may then do first any my now such like our over even most made "
        "after did many must through where much your way well down should because each just those people how too "
        "little good very make world still see men work long here between both life being under never same another "
        "know while last might us great since against came right take three "
        "der die das und ist nicht ein eine den dem von zu mit sich auf für auch es im als sie wir ich dass werden "
        "bei nach wird sind oder wie aber noch aus zum zur über haben hat einen einer "
        "le la les des et est un une dans pour que qui par sur pas plus avec ce il elle nous vous sont au aux du "
        "el los las del por una con para como pero más su sus este esta entre cuando muy "
        "il lo gli di che per della con non sono una del alla nel "
        "o os um uma não com para mais como dos das foi ao "
        "het een van en niet op te dat zijn voor met "
        "w z na i nie się jest do że to jak od przez po dla"
    ),
    "date": (
        "january february march april june july august september october november december jan feb mar apr jun jul "
        "aug sep sept oct nov dec monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun "
        "ago am pm published posted updated modified minutes min hours days weeks months est edt gmt utc uhr"
    ),
    "share": (
        "share tweet facebook twitter linkedin pinterest whatsapp email print instagram youtube telegram reddit follow "
        "copy link flipboard tumblr rss bookmark teilen partager"
    ),
    "legal": (
        "copyright rights reserved privacy policy terms conditions cookie cookies gdpr consent accept disclaimer "
        "trademark trademarks sitemap imprint impressum datenschutz accessibility notice preferences preference"
    ),
    "account": (
        "login log sign signup register subscribe newsletter newsletters account password username inbox unsubscribe "
        "membership subscription subscriber subscribers logout signin forgot anmelden registrieren"
    ),
    "comment": (
        "comment comments reply replies respond responses thread likes like upvote moderated moderation leave "
        "discussion commenting kommentar kommentare commentaires disqus guest report"
    ),
    "related": (
        "related recommended popular trending latest recent similar more next previous prev also editor picks stories "
        "articles posts headlines topics featured read continue discover explore newer older viewed"
    ),
    "ad": "advertisement advertising advertise sponsored promoted ad ads affiliate promo partner partners anzeige werbung",
    "nav": (
        "home menu search contact about faq help categories category tags archive archives skip toggle navigation "
        "close open back top page pages view show all browse sections filter sort reset submit cancel loading expand "
        "collapse hide site index results careers jobs press support download downloads mobile app"
    ),
    "shop": (
        "cart buy price shipping add checkout sale stock qty quantity wishlist sku order delivery returns off free "
        "shop store item items compare usd bag discount availability gift"
    ),
    "author": (
        "by author staff writer reporter editor written editors photo credit image caption getty source via "
        "photograph photographer correspondent contributor images courtesy"
    ),
    "forum": (
        "reviews review rating stars member joined posts messages quote moderator location senior views forum topic "
        "topics joined edited helpful verified points registered offline online user users"
    ),
}
NUM_GROUPS: Final = len(GROUPS)

# Classes of ASCII characters, and of the first and last character of a block.
CLASSES: Final = ("other", "space", "letter", "upper", "digit", "end", "comma", "quote", "symbol")


class Lookup(NamedTuple):
    """A hash table with open addressing: a power of two of slots, key 0 for an empty one."""

    keys: np.ndarray  # (slots,) uint64
    values: np.ndarray  # (slots,)


class Hints(NamedTuple):
    """The automaton for finding hint words."""

    after: np.ndarray  # (states, 26) int16
    depth: np.ndarray  # (states,) int16
    inside: np.ndarray  # (states, 2) uint64: bits of the hints ending here, from any start
    whole: np.ndarray  # (states, 2) uint64: bits of the hint that the whole path spells


class Tables(NamedTuple):
    """Every table of the compiled pass. Functions take only the arrays they need, because numba
    counts references one by one.
    """

    char_class: np.ndarray  # (256,) uint8
    tags: Lookup  # uint8: the number of a tag
    tag_flags: np.ndarray  # (tags + 1,) uint16
    tag_channel: np.ndarray  # (tags + 1,) int16; the place in CHANNEL_TAGS, -1 for none
    attributes: Lookup  # uint8: the kind of an attribute
    hints: Hints
    words: Lookup  # uint16: bits of the groups of a word


@cache
def tables() -> Tables:
    """The tables, made once in a process."""
    kinds = dict.fromkeys(_HINTING.split(), 1) | {
        name: number for number, name in enumerate(ATTRIBUTES[1:], 2)
    }
    kinds["popover"] = kinds["hidden"]
    groups: dict[int, int] = {}
    for number, words in enumerate(GROUPS.values()):
        for word in set(words.split()):
            groups[word_hash(word)] = groups.get(word_hash(word), 0) | 1 << number

    return Tables(
        _char_classes(),
        lookup({packed(name): number for name, number in TAG.items()}, np.uint8),
        _tag_flags(),
        _tag_channels(),
        lookup({packed(name): kind for name, kind in kinds.items()}, np.uint8),
        _automaton(_spellings()),
        lookup(groups, np.uint16),
    )


def word_hash(word: str) -> int:
    """FNV-1a, 64 bits, of the UTF-8 bytes of a word in lower case, as the compiled pass computes
    it.
    """
    state = 0xCBF29CE484222325
    for byte in word.encode():
        state = (state ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return state


def packed(name: str) -> int:
    """A name of at most twelve characters as one number, as the compiled pass packs it."""
    number = 0
    for character in name:
        code = ord(character)
        if "a" <= character <= "z":
            digit = code - 96
        elif "0" <= character <= "9":
            digit = code - 21
        else:
            digit = 37
        number = number * 38 + digit

    assert 0 < number < 38**12, name
    return number


def slot_of(key: int, slots: int) -> int:
    """The first slot in the search for a key."""
    return (key ^ key >> 29) & (slots - 1)


def lookup(entries: Mapping[int, int], dtype: type[np.unsignedinteger]) -> Lookup:
    """The hash table of these keys and values."""
    slots = 8
    while slots < 4 * len(entries):
        slots *= 2
    keys, values = np.zeros(slots, np.uint64), np.zeros(slots, dtype)

    for key, value in entries.items():
        slot = slot_of(key, slots)
        while keys[slot]:
            slot = (slot + 1) & (slots - 1)
        keys[slot], values[slot] = key, value

    return Lookup(keys, values)


def _char_classes() -> np.ndarray:
    classes = np.full(256, CLASSES.index("symbol"), np.uint8)
    # Control characters are invisible and do not separate words. `clean.normalize` removes them.
    classes[[*range(33), 127]] = CLASSES.index("letter")
    classes[list(b"\t\n\f\r ")] = CLASSES.index("space")

    for characters, name in (
        ("abcdefghijklmnopqrstuvwxyz_", "letter"),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "upper"),
        ("0123456789", "digit"),
        (".!?", "end"),
        (",;", "comma"),
        ("\"'`():-", "quote"),
    ):
        for character in characters:
            classes[ord(character)] = CLASSES.index(name)

    return classes


def _tag_flags() -> np.ndarray:
    flags = np.zeros(len(TAGS) + 1, np.uint16)
    for names, flag in (
        (_BLOCK, BLOCK),
        (_VOID, VOID),
        (_RAW, RAW),
        (_SKIP, SKIP),
        (_CLOSES_P, CLOSES_P),
        ("html table td th caption template object button", SCOPE),
        ("base link meta title script style noscript template html head", IN_HEAD),
        ("h1 h2 h3 h4 h5 h6", HEADING),
        ("b strong th h1 h2 h3 h4 h5 h6 dt", BOLD),
        (_TABLE, TABLE_PART),
        ("input select textarea button label", FIELD),
    ):
        for name in names.split():
            flags[TAG[name]] |= flag

    return flags


def _tag_channels() -> np.ndarray:
    channels = np.full(len(TAGS) + 1, -1, np.int16)
    for number, name in enumerate(CHANNEL_TAGS):
        channels[TAG[name]] = number
    return channels


def _spellings() -> list[tuple[str, int]]:
    """Every hint word with its channel."""
    also = [(word, HINTS.index(name)) for name, words in _ALSO.items() for word in words.split()]
    return [(name, number) for number, name in enumerate(HINTS)] + also


def _automaton(words: Iterable[tuple[str, int]]) -> Hints:
    """The automaton for finding `words`, all of letters a to z."""
    children: list[dict[int, int]] = [{}]
    depth, whole, inside = [0], [0], [0]
    for word, number in words:
        state = 0
        for character in word:
            letter = ord(character) - 97
            if letter not in children[state]:
                children[state][letter] = len(children)
                children.append({})
                depth.append(depth[state] + 1)
                whole.append(0)
                inside.append(0)
            state = children[state][letter]

        whole[state] |= 1 << number
        if len(word) > SHORT_HINT:
            inside[state] |= 1 << number

    after = np.zeros((len(children), 26), np.int16)
    failure = [0] * len(children)
    queue = deque([0])

    while queue:
        state = queue.popleft()
        inside[state] |= inside[failure[state]]
        for letter in range(26):
            child = children[state].get(letter)
            fallback = int(after[failure[state], letter]) if state else 0
            if child is None:
                after[state, letter] = fallback
            else:
                after[state, letter], failure[child] = child, fallback
                queue.append(child)

    return Hints(after, np.array(depth, np.int16), _halves(inside), _halves(whole))


def _halves(masks: list[int]) -> np.ndarray:
    low = (1 << 64) - 1
    return np.array([(mask & low, mask >> 64) for mask in masks], np.uint64)
