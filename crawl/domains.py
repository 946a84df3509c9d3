"""Comparison of a corpus' domains with a list, such as the 1,000 published by OpenAI.

The list is a text file with a name on each line, and a count before or after it or none. OpenAI's
list names second-level labels (`nytimes`, `google`) and not domains. A name without a dot is
therefore compared with the first label of a registered domain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from corpus.errors import InputError

NUM_MISSING = 20


@dataclass(frozen=True, slots=True)
class Coverage:
    """Our domains compared with a list."""

    num_listed: int
    num_met: int
    """Names of the list with a link of ours."""
    listed_frac: float
    """Fraction of the list's counts at names with links; of the names, if the list has no counts.
    """
    ours_frac: float
    """Fraction of our links that lie on listed domains."""
    missing: tuple[tuple[str, int], ...]
    """Names of the list without a link of ours, largest counts first."""


def read_list(path: str) -> dict[str, int]:
    """Read names with their counts, 1 where none is given.

    Raises: InputError naming file, line and value.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"list of domains {path}: {error}; name a readable UTF-8 text file"
        ) from error

    listed: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        fields = line.partition("#")[0].replace(",", " ").split()
        if len(fields) == 1 and not fields[0].isdigit():
            listed[fields[0].lower()] = 1
        elif len(fields) == 2 and fields[0].isdigit():
            listed[fields[1].lower()] = int(fields[0])
        elif len(fields) == 2 and fields[1].isdigit():
            listed[fields[0].lower()] = int(fields[1])
        elif len(fields) > 1:
            raise InputError(
                f"{path}:{number}: {line!r}; expected a name and at most one count, as `1234 example`"
            )

        # else an empty line, or a count without a name, of which OpenAI's list has one
    return listed


def coverage(ours: Mapping[str, int], listed: Mapping[str, int]) -> Coverage:
    """Compare links by registered domain with a list's names and counts."""
    met: Counter[str] = Counter()
    for domain, links in ours.items():
        label = domain.partition(".")[0]
        name = domain if domain in listed else label
        if name in listed:
            met[name] += links

    missing = sorted(
        ((n, c) for n, c in listed.items() if n not in met), key=lambda item: (-item[1], item[0])
    )

    return Coverage(
        num_listed=len(listed),
        num_met=len(met),
        listed_frac=sum(listed[name] for name in met) / max(1, sum(listed.values())),
        ours_frac=met.total() / max(1, sum(ours.values())),
        missing=tuple(missing),
    )


def render(found: Coverage) -> str:
    """The comparison as text."""
    names = ", ".join(name for name, _ in found.missing[:NUM_MISSING])
    return (
        f"{found.num_met:,} of the {found.num_listed:,} listed domains have links here; they carry "
        f"{found.listed_frac:.1%} of the list's counts, and {found.ours_frac:.1%} of our links lie on listed domains"
        + (f"\nlargest without a link: {names}" if names else "")
    )
