"""From the tokenized text of old test sets to natural text, and back.

WikiText, Penn Treebank and One Billion Words have spaces around every sign ("the U.S. , he did
n't"), unlike any text of the web. GPT-2's paper scores them "with invertible de-tokenizers", which
it does not show, and gains 2.5 to 5 perplexity. `Detokenizer.join` makes natural text of a line,
`split` restores the line, and `num_exceptions` counts the lines of a file without a round trip: an
untested inverse is only a claim.

`split` takes one written word at a time: it peels brackets, quotes, currency and closing signs off
its ends, then the clitics, and opens joined parts. A list has the abbreviations with their full
stop, as the tokenizer kept it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

OPENING = frozenset("([{$£¥€#")
CLOSING = frozenset(",;:!?)]}%")
QUOTE = '"'
CLITICS = ("n't", "'s", "'m", "'d", "'re", "'ve", "'ll")
# Signs that WikiText writes as `@-@` between two parts of a word.
INNER = ("-", ",", ".")
ATOMS = frozenset(
    {"...", "..", "....", ".....", "--", "---", "!!", "??", "''", "``", ":)", ":-)", ";-)", ":("}
)
ABBREVIATIONS = frozenset(
    """adm al apr assoc asst aug ave bros capt cf ch cmdr co col corp cpl d dec dept dist dr drs ed eds esq est etc feb fig figs
    fr ft gen gov hon inc jan jr jun lieut lt ltd maj messrs mr mrs ms mt no nos nov oct op p phd pp prof pvt rep reps rev
    sec sen sens sept sgt sr st ste supt v viz vol vols vs""".split()  # noqa: SIM905 - words read best as words
)


@dataclass(frozen=True)
class Detokenizer:
    """One set's way of writing tokens."""

    name: str
    inner: bool = False
    """Whether `@-@`, `@,@` and `@.@` stand for signs inside words (WikiText)."""
    punctuation: bool = True
    """Whether there are signs to join.

    The Penn Treebank of language models has none but $, % and '.
    """

    def join(self, line: str) -> str:
        """The line as written; spaces at its ends stay."""
        body = line.strip(" ")
        if not body:
            return line
        lead, tail = line[: len(line) - len(line.lstrip(" "))], line[len(line.rstrip(" ")) :]
        return lead + "".join(self._joined(body.split(" "))) + tail

    def split(self, line: str) -> str:
        """The tokens of a written line, separated by spaces."""
        body = line.strip(" ")
        if not body:
            return line

        lead, tail = line[: len(line) - len(line.lstrip(" "))], line[len(line.rstrip(" ")) :]
        words = body.split(" ")
        tokens = [token for word in words[:-1] for token in self._tokens(word)]
        return lead + " ".join([*tokens, *self._tokens(words[-1], last=True)]) + tail

    def num_exceptions(self, lines: Iterable[str]) -> int:
        """The number of lines not restored by `split`."""
        return sum(self.split(self.join(line)) != line for line in lines)

    def _joined(self, tokens: list[str]) -> Iterator[str]:
        glue, quoted = True, False  # glue: no space before the next token
        for place, token in enumerate(tokens):
            if self.inner and len(token) == 3 and token[0] == token[2] == "@" and token[1] in INNER:
                yield token[1]
                glue = True
                continue

            before = tokens[place - 1] if place else ""
            left = self._clings_left(token) or (
                token == "." and self.punctuation and before.strip(".") != ""
            )
            right = token in OPENING and place + 1 < len(tokens) and _is_word(tokens[place + 1])
            if self.punctuation and token == QUOTE:
                left, right, quoted = quoted, not quoted, not quoted
                right = right and place + 1 < len(tokens)

            if not (glue or left):
                yield " "
            yield token
            glue = right

        return

    def _clings_left(self, token: str) -> bool:
        if token in CLITICS or token == "%":
            return True
        return self.punctuation and token in CLOSING

    def _tokens(self, word: str, *, last: bool = False) -> list[str]:
        if word.isalnum():  # most words: nothing to peel off
            return [word]

        head: list[str] = []
        tail: list[str] = []
        while len(word) > 1 and word not in ATOMS:
            if word[0] in OPENING or (self.punctuation and word[0] == QUOTE):
                head.append(word[0])
                word = word[1:]
            elif word[-1] == "%" or (
                self.punctuation and (word[-1] in CLOSING or word[-1] == QUOTE)
            ):
                tail.append(word[-1])
                word = word[:-1]
            elif self.punctuation and word[-1] == "." and _ends_sentence(word, last=last):
                tail.append(".")
                word = word[:-1]
            else:
                clitic = (
                    next((c for c in CLITICS if word.endswith(c) and word != c), None)
                    if "'" in word
                    else None
                )
                if clitic is None:
                    break
                tail.append(clitic)
                word = word[: -len(clitic)]

        inner = _INNER.sub(_opened, word) if self.inner and word not in ATOMS else word
        return [*head, *inner.split(" "), *reversed(tail)]


_INNER = re.compile(
    r"(?<=\d)[,.](?=\d)|(?<=<unk>)[,.](?=\d)|(?<=\d)[,.](?=<unk>)|(?<=[^-])-(?=[^-])"
)


def _opened(match: re.Match[str]) -> str:
    return f" @{match.group()}@ "


def _is_word(token: str) -> bool:
    return token[0].isalnum() or token[0] in "<.@"


def _ends_sentence(word: str, *, last: bool) -> bool:
    """True if the full stop behind a word is a token of its own; `last`: the word ends the line."""
    stem = word[:-1]
    if stem.endswith("."):
        return len(stem) > 1 and "." in stem[:-1] and stem.strip(".") != ""
    if stem.lower() in ABBREVIATIONS:
        return last

    return not ("." in stem and stem.replace(".", "").isalpha()) and not (
        len(stem) == 1 and stem.isupper()
    )


WIKITEXT = Detokenizer("wikitext", inner=True)
PTB = Detokenizer("ptb", punctuation=False)
ONE_BILLION_WORDS = Detokenizer("1bw")
