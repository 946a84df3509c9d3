"""The three shapes of work. A stage is a short tuple of them.

    Map       a part of a table to the same part of other tables
    Exchange  rows scattered into buckets, then each bucket reduced on its own
    Gather    all of some tables to one result

The functions are pure: they see Arrow tables and their config, and return tables and counts. The
runner sees files, resume, accounting, progress and commit. Functions come from `load`, called once
per task, which opens models. Everything named here is a module-level object, so a step can be sent
to another process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from corpus.storage.store import Store
from corpus.tables.manifest import Input, Part
from corpus.tables.schemas import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The place of a task: input of `load` besides its config."""

    store: Store
    batch: str
    num_parts: int
    """Parts of the batch: a property of the data, recorded at its first table."""
    files: tuple[str, ...] = ()
    """Files outside the corpus that the stage was given (dumps)."""
    generation: str = ""
    """The mark in a rebuild's part names (`part-00000.<generation>.parquet`); empty otherwise."""
    scratch: str = ""
    """Folder below the corpus root for this step's own durable state."""
    report: Callable[[int], None] = field(default=lambda rows: None, compare=False)
    """Tells the progress display that so many more rows are done."""


@dataclass(slots=True)
class Output:
    """Result of a function for one batch, part or bucket."""

    tables: dict[str, pa.Table]
    counts: Counter[str] = field(default_factory=Counter)
    """By reason, and they add up to the rows read.

    A name with a colon (`charset:header`) is a note on such rows.
    """


@dataclass(slots=True)
class Scattered:
    """Rows on their way to buckets: `bucket[i]` in 0..num_buckets-1 is where row i goes."""

    table: pa.Table
    bucket: np.ndarray
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Written:
    """Parts per table written by a whole-part function itself."""

    parts: dict[str, list[Part]]
    rows_read: int
    counts: Counter[str] = field(default_factory=Counter)


Joins = Mapping[str, pa.Table]
MapFunction = Callable[[pa.Table, Joins], Output]
PartFunction = Callable[[int, Iterator[pa.Table], Joins], Written]
ScatterFunction = Callable[[pa.Table], Scattered]
FileScatterFunction = Callable[[str], Iterator[Scattered]]
ReduceFunction = Callable[[int, pa.Table], Output]
GatherFunction = Callable[[Mapping[str, Iterator[pa.Table]]], Output]
Depends = Callable[[Any, Context], list[Input]]
# Called with the config, the context and the paths of the written parts by table.
Accept = Callable[[Any, Context, Mapping[str, Sequence[str]]], None]


def no_further_inputs(config: Any, context: Context) -> list[Input]:
    """The usual `depends`: no inputs besides the tables read."""
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Common attributes of all shapes."""

    name: str
    """`stage/noun`, for logs and the funnel."""
    writes: tuple[Table, ...]
    sections: tuple[str, ...] = ()
    """Fields of the stage's config that this step's bytes depend on: they enter the fingerprint."""
    revision: int = 1
    """Raised when the same config and input give other bytes than before."""
    repeatable: bool = True
    """True if equal inputs always give equal bytes, so that `--rebuild` may replace a part."""
    limited: bool = True
    """False for a step that waits for other people's servers or may not run twice at once: its
    tasks have no time limit, and no second copies."""
    accept: Accept | None = None
    """Looks at the written parts before they are committed, and may raise to refuse them.

    The tasks of a refused step run again at the next start.
    """
    depends: Depends = no_further_inputs
    """Inputs beside the tables read: earlier batches, files outside the corpus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Map(Step):
    """A part to the same part.

    `load(config, context)` gives the function for row-group-sized batches.
    """

    reads: Table
    columns: tuple[str, ...] | None = None
    where: Callable[[pa.Table], pa.Table] | None = None
    """Selects the rows of the table that the step works on; the others do not count as read."""
    joins: Mapping[Table, tuple[str, ...]] = field(default_factory=dict)
    """Tables partitioned alike and the columns wanted of them.

    Given as whole parts, to be matched by id.
    """
    load: Callable[[Any, Context], MapFunction] | None = None
    load_part: Callable[[Any, Context], PartFunction] | None = None
    """Instead of `load`, for a table with its own file layout: the function writes its parts."""
    conserves: tuple[Table, ...] = ()
    """Outputs whose rows must add up to the rows read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange(Step):
    """Regroup by key: scatter every input part (or file) into buckets, then reduce each bucket.

    A bucket reaches `reduce` as one table, in the order of the input parts and of the rows within
    them.
    """

    reads: Table | None
    """None: the inputs are `Context.files`, one task each."""
    also_reads: tuple[Table, ...] = ()
    """Further tables whose parts are scattered after those of `reads`, by the same function."""
    columns: tuple[str, ...] | None = None
    load_scatter: Callable[[Any, Context], ScatterFunction] | None = None
    load_file_scatter: Callable[[Any, Context], FileScatterFunction] | None = None
    """For files. Every row of a file counts once in `Scattered.counts`, also if it is dropped."""
    scattered: pa.Schema
    """Columns that travel."""
    load_reduce: Callable[[Any, Context], ReduceFunction]
    num_buckets: Callable[[Any, Context], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather(Step):
    """All to one, in one task: each table arrives as an iterator over row groups, in order.

    Result tables partitioned by `doc_id` may come in any order: the runner sorts and cuts them.
    """

    reads: Mapping[Table, tuple[str, ...]]
    load: Callable[[Any, Context], GatherFunction]


AnyStep = Map | Exchange | Gather


def one_bucket_per_part(config: Any, context: Context) -> int:
    """The usual `num_buckets`: a bucket is a part of the batch."""
    return context.num_parts
