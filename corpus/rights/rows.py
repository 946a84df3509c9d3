"""Statements as rows of the table `rights`, and counts of such rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from corpus.rights.statements import Answer, Signal, Statement


def signal_row(said: Statement) -> dict[str, str]:
    """A statement as an entry of `rights.signals`."""
    return {
        "signal": said.signal.value,
        "value": said.value,
        "where": f"{said.place}: {said.where}",
        "says": said.says.value,
    }


def read_signal(row: Mapping[str, Any]) -> Statement:
    """The statement of an entry of `rights.signals`."""
    place, _, where = row["where"].partition(": ")
    return Statement(Signal(row["signal"]), row["value"], place, where, Answer(row["says"]))


def rights_counts(rights: pa.Table) -> Counter[str]:
    """Pages by answer, and by signal and what it says, as notes."""
    counts = Counter(f"training:{answer}" for answer in rights["training"].to_pylist())
    for signals in rights["signals"].to_pylist():
        counts.update({f"{each['signal']}:{each['says']}" for each in signals})
    return counts
