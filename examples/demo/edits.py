"""Edited copies of pages, and the similarity of two texts.

Similarity is dedup's own measure: exact Jaccard of the sets of 5-word shingles over lower-cased
words.
"""

from __future__ import annotations

import html
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from examples.demo.markup import plain_text, words

SHINGLE_WORDS = 5
GRAM_WORDS = 8
# Grams of 8 words at every 6th word: each run of 13 shared words contains one.
GRAM_STEP = 6
# Share of words edited in a near copy, in one run. Titles of another site's template cost some
# similarity as well. Above .87 14 bands of 8 miss a pair in 300, at .9 one in two thousand: with
# more edits a demo with forty copies would fail by chance.
EDITED_FRAC = 0.02

# A page's body, words to put in, and the dice, to the body of a copy.
Edit = Callable[[str, Sequence[str], random.Random], "str | None"]

_TOKEN = re.compile(r"<pre\b.*?</pre>|<[^>]*>|&#?\w+;|(?P<word>\w+)", re.DOTALL)
_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)


def jaccard(left: str, right: str) -> float:
    """Exact Jaccard similarity of the 5-word shingle sets of two texts."""
    a, b = _shingles(words(left)), _shingles(words(right))
    return len(a & b) / len(a | b) if a or b else 1.0


def near_copy(body: str, vocabulary: Sequence[str], rng: random.Random) -> str | None:
    """Replace one run of words of `body`: Jaccard at least .88.

    None if no such copy is found.
    """
    spans = _word_spans(body)
    length = round(EDITED_FRAC * len(words(plain_text(body))))
    if not 0 < length < len(spans) // 4:
        return None

    start = rng.randrange(len(spans) - length)
    copy = _replace_words(body, spans, set(range(start, start + length)), vocabulary, rng)
    return copy if 0.88 <= jaccard(plain_text(body), plain_text(copy)) < 1.0 else None


def reworded(body: str, vocabulary: Sequence[str], rng: random.Random) -> str | None:
    """Replace single words all over `body`: Jaccard between .53 and .57.

    None if no such copy is found.
    """
    spans = _word_spans(body)
    order = rng.sample(range(len(spans)), len(spans))
    low, high = 0, len(spans) // 4

    while low < high:
        count = (low + high) // 2
        copy = _replace_words(body, spans, set(order[:count]), vocabulary, random.Random(count))
        similarity = jaccard(plain_text(body), plain_text(copy))
        if 0.53 <= similarity <= 0.57:
            return copy
        low, high = (count + 1, high) if similarity > 0.57 else (low, count)

    return None


def passage(body: str) -> str | None:
    """The first paragraph of plain prose in `body`, 50 to 150 words; None when it has none."""
    for match in _PARAGRAPH.finditer(body):
        text = " ".join(plain_text(match[1]).split())
        letters = sum(character.isalpha() or character == " " for character in text)
        if 50 <= len(words(text)) <= 150 and letters > 0.92 * len(text) and "<" not in text:
            return text
    return None


def disguised(text: str, rng: random.Random) -> str:
    """The same words in the same order with other punctuation, case and line breaks."""
    parts = []
    for token in text.split():
        bare = token.rstrip(".,;:!?")
        shown = rng.choice((bare, bare, bare.upper(), bare.capitalize()))
        parts.append(shown + rng.choice((" ", " ", ", ", " — ", "\n", "; ", "... ")))
    return "".join(parts).rstrip(" ,;—\n") + "!"


def embedded(body: str, text: str) -> str:
    """`body` with `text` run into the middle one of its paragraphs, without markup of its own."""
    paragraphs = list(_PARAGRAPH.finditer(body))
    addition = html.escape(text, quote=False)
    if not paragraphs:
        return f"{body}\n<p>{addition}</p>"
    middle = paragraphs[len(paragraphs) // 2]
    return f"{body[: middle.end(1)]} {addition}{body[middle.end(1) :]}"


def shared_words(
    targets: Mapping[str, Sequence[str]], others: Iterable[tuple[str, Sequence[str]]]
) -> dict[str, int]:
    """Count, for each target (name to words), the words shared with the most similar other text.

    A text is not compared with targets of its own name, nor of its name with a `#fragment`. Every
    run of 13 shared words is found; the count is the number of shared grams times `GRAM_STEP`.
    """
    owners: dict[int, list[str]] = {}
    for name, tokens in targets.items():
        for gram in {
            hash(tuple(tokens[i : i + GRAM_WORDS])) for i in range(len(tokens) - GRAM_WORDS + 1)
        }:
            owners.setdefault(gram, []).append(name)

    most = dict.fromkeys(targets, 0)
    for name, tokens in others:
        hits: Counter[str] = Counter()
        for i in range(0, len(tokens) - GRAM_WORDS + 1, GRAM_STEP):
            hits.update(owners.get(hash(tuple(tokens[i : i + GRAM_WORDS])), ()))
        for target, count in hits.items():
            if target.partition("#")[0] != name:
                most[target] = max(most[target], count * GRAM_STEP)

    return most


def _shingles(tokens: Sequence[str]) -> set[tuple[str, ...]]:
    return {
        tuple(tokens[i : i + SHINGLE_WORDS]) for i in range(max(1, len(tokens) - SHINGLE_WORDS + 1))
    }


def _word_spans(body: str) -> list[tuple[int, int]]:
    """The places of words of running text in `body`, outside tags and listings."""
    return [match.span() for match in _TOKEN.finditer(body) if match["word"]]


def _replace_words(
    body: str,
    spans: Sequence[tuple[int, int]],
    chosen: set[int],
    vocabulary: Sequence[str],
    rng: random.Random,
) -> str:
    parts = []
    end = 0
    for index in sorted(chosen):
        start, stop = spans[index]
        parts += [body[end:start], rng.choice(vocabulary)]
        end = stop

    return "".join((*parts, body[end:]))
