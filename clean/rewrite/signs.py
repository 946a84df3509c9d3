"""Words of a page's markup that call for a rewriting, found in one compiled pass.

Most pages need no rewriting. Thirty searches for a string would take longer than cutting the page
into blocks.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned.compiled import compiled
from clean.learned.markup import Lookup, lookup, packed
from clean.learned.tokens import find

# In lower case, cut after `WORD_CHARS` letters.
WORDS: Final = (
    *(
        "xmp",
        "listing",
        "plaintext",
        "noframes",
        "shadowroot",
        "shadowrootm",
        "textarea",
        "cfemail",
    ),
    *("math", "katex", "mathjax", "mjx", "latex", "tex", "formula"),
    *(
        "pre",
        "white",
        "space",
        "gutter",
        "lineno",
        "linenos",
        "linenumber",
        "linenumbers",
        "linenodiv",
    ),
    *(
        "line",
        "linenr",
        "ln",
        "blob",
        "crayon",
        "hljs",
        "syntaxhighl",
        "lines",
        "rouge",
        "codetable",
    ),
    *("view", "codemirror", "react", "button", "select", "q", "sup"),
)
WORD_CHARS: Final = 11
_A, _Z = 97, 122
_TABLE: Final[Lookup] = lookup({packed(word): n for n, word in enumerate(WORDS, 1)}, np.uint8)


def signs(html: str) -> frozenset[str]:
    """Those of `WORDS` that stand in `html` as words of ASCII letters."""
    data = np.frombuffer(html.encode("utf-8", "replace"), np.uint8)
    found = np.zeros(len(WORDS) + 1, np.uint8)
    _search(data, _TABLE, found)
    return frozenset(WORDS[number - 1] for number in np.flatnonzero(found[1:]) + 1)


@compiled
def _search(data: Any, table: Any, found: Any) -> None:
    number = np.uint64(0)
    length = 0
    for index in range(data.size):
        lower = data[index] | 32
        if _A <= lower <= _Z:
            if length < WORD_CHARS:
                number = number * np.uint64(38) + np.uint64(lower - 96)
            length += 1
        elif length:
            found[find(table, number)] = 1
            number = np.uint64(0)
            length = 0

    if length:
        found[find(table, number)] = 1
