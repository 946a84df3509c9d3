"""Three toy stages in a row over two batches, with a scratch table in the middle and an input from
earlier batches.

Every row carries a value that follows from the settings and values of everything it was made from,
so a row that was made from tables which do not belong together is recognized by its value alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from corpus.config import Section
from corpus.run.step import AnyStep, Context, Map, Output
from corpus.storage.store import Store
from corpus.tables.manifest import Input, earlier_batches, earlier_inputs, find_manifest
from corpus.tables.parquet import read_file
from corpus.tables.schemas import LINKS, Table

VALUES = pa.schema([pa.field("doc_id", pa.string()), pa.field("value", pa.int64())])
FIRST = Table(name="first", schema=VALUES)
FIRST_DROPPED = Table(name="first_dropped", schema=VALUES)
MIDDLE = Table(name="middle", schema=VALUES, scratch=True)
SECOND = Table(name="second", schema=VALUES)
THIRD = Table(name="third", schema=VALUES)


class ChainConfig(Section):
    """Settings of the toy stages."""

    first: int = 0
    """Enters the values of stage one."""
    middle: int = 0
    """Enters the scratch table of stage two."""
    second: int = 0
    """Enters the values of stage two."""
    third: int = 0
    """Enters the values of stage three."""


def mixed(value: int, setting: int) -> int:
    """A value that tells every pair of arguments apart."""
    return (value * 1_000_003 + setting + 1) % (1 << 40)


def values(store: Store, table: str, batch: str) -> set[int]:
    """The distinct values of a committed table."""
    manifest = find_manifest(store, table, batch)
    assert manifest is not None
    paths = [f"{table}/{batch}/{part.file}" for part in manifest.parts]
    return {value for path in paths for value in read_file(store, path)["value"].to_pylist()}


def met(store: Store, batch: str) -> int:
    """What stage two takes from the earlier batches."""
    names = [name for name in earlier_batches(store, batch) if find_manifest(store, "second", name)]
    return sum(max(values(store, "second", name), default=0) for name in names)


def depends_on_earlier(config: ChainConfig, context: Context) -> list[Input]:
    return earlier_inputs(context.store, context.batch, "second")


def load_first(config: ChainConfig, context: Context) -> Any:
    def apply(links: pa.Table, joins: Mapping[str, pa.Table]) -> Output:
        made = pa.array([mixed(score, config.first) for score in links["score"].to_pylist()])
        rows = pa.table({"doc_id": links["doc_id"], "value": made})
        return Output({"first": rows, "first_dropped": rows.slice(0, 0)})

    return apply


def load_middle(config: ChainConfig, context: Context) -> Any:
    return _changed("first", "middle", config.middle)


def load_second(config: ChainConfig, context: Context) -> Any:
    return _changed("middle", "second", config.second, met(context.store, context.batch))


def load_third(config: ChainConfig, context: Context) -> Any:
    return _changed("second", "third", config.third)


def _changed(read: str, written: str, setting: int, more: int = 0) -> Any:
    def apply(rows: pa.Table, joins: Mapping[str, pa.Table]) -> Output:
        made = pa.array([mixed(value + more, setting) for value in rows["value"].to_pylist()])
        return Output({written: pa.table({"doc_id": rows["doc_id"], "value": made})})

    return apply


STAGES: dict[str, tuple[AnyStep, ...]] = {
    "one": (
        Map(
            name="one/first",
            reads=LINKS,
            columns=("doc_id", "score"),
            writes=(FIRST, FIRST_DROPPED),
            sections=("first",),
            load=load_first,
        ),
    ),
    "two": (
        Map(
            name="two/middle",
            reads=FIRST,
            writes=(MIDDLE,),
            sections=("middle",),
            load=load_middle,
        ),
        Map(
            name="two/second",
            reads=MIDDLE,
            writes=(SECOND,),
            sections=("second",),
            depends=depends_on_earlier,
            load=load_second,
        ),
    ),
    "three": (
        Map(
            name="three/third",
            reads=SECOND,
            writes=(THIRD,),
            sections=("third",),
            load=load_third,
        ),
    ),
}


def expected(store: Store, table: str, batch: str, score: int) -> set[int]:
    """The values that a table has if it was made from the committed tables, by their recorded
    settings.
    """
    manifest = find_manifest(store, table, batch)
    assert manifest is not None
    settings = manifest.config
    if table == "first":
        return {mixed(score, settings["first"])}
    if table == "second":
        [value] = expected(store, "first", batch, score)
        middle = mixed(value, settings["middle"])
        return {mixed(middle + met(store, batch), settings["second"])}
    [value] = expected(store, "second", batch, score)
    return {mixed(value, settings["third"])}
