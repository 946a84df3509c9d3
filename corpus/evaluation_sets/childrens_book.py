"""The Children's Book Test as a book prints it, and back to its tokens.

The set is in the tokens of the Penn Treebank ("He did n't , '' said the boy -LRB- again -RRB- .").
GPT-2's paper removes them before scoring (section 3.2). Quotes and brackets of these tokens say
whether they open or close, so no pairing has to be guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# Tokens that are printed as another sign, and the side on which a space is left out.
OPENING = {
    "``": '"', "`": "'", "-LRB-": "(", "-LSB-": "[", "-LCB-": "{", "$": "$", "(": "(", "[": "[",
}  # fmt: skip
CLOSING = {
    "''": '"', "'": "'", "-RRB-": ")", "-RSB-": "]", "-RCB-": "}", ",": ",", ".": ".", ";": ";",
    ":": ":", "!": "!", "?": "?", "%": "%", ")": ")", "]": "]",
}  # fmt: skip
CLITICS = ("n't", "'s", "'m", "'d", "'re", "'ve", "'ll", "'S", "'LL", "N'T")

_SIGNS = {sign: token for token, sign in OPENING.items() if token not in ("(", "[")}
_ENDS = {sign: token for token, sign in CLOSING.items() if token not in (")", "]")}


def printed(tokens: Sequence[str]) -> list[str]:
    """Each token as it is printed, with the space before it where there is one."""
    pieces = []
    glued = True
    for token in tokens:
        left = token in CLOSING or token in CLITICS
        sign = CLOSING.get(token) or OPENING.get(token) or token
        pieces.append(sign if glued or left else f" {sign}")
        glued = token in OPENING

    return pieces


def tokens_of(line: str) -> list[str]:
    """The tokens of a line. Only spaces part them: a text may hold other white space."""
    return [token for token in line.split(" ") if token]


def join(line: str) -> str:
    """A line of tokens as it is printed."""
    return "".join(printed(tokens_of(line)))


def split(line: str) -> str:
    """The tokens of a printed line, with a space between any two."""
    return " ".join(token for word in tokens_of(line) for token in _tokens(word))


def _tokens(word: str) -> Iterator[str]:
    tail: list[str] = []
    while len(word) > 1 and word not in CLITICS:
        if word[0] in _SIGNS:
            yield _SIGNS[word[0]]
            word = word[1:]
        elif (clitic := next((c for c in CLITICS if word.endswith(c)), None)) is not None:
            tail.append(clitic)
            word = word.removesuffix(clitic)
        elif word[-1] in _ENDS and not _is_abbreviation(word):
            tail.append(_ENDS[word[-1]])
            word = word[:-1]
        else:
            break

    yield _ENDS.get(word, word)
    yield from reversed(tail)


def _is_abbreviation(word: str) -> bool:
    return word in ("Mr.", "Mrs.", "Dr.", "St.", "Messrs.") or set(word) == {"."}
