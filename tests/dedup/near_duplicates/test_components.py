"""Components go to tasks as wholes, the same ones whatever the order, and verdicts do not depend on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.tables.parquet import read_table
from dedup.near_duplicates import components, lsh, survivor_steps
from dedup.tables import CHOICES
from tests.dedup.made import MadeCorpus, Page

New = Callable[[], MadeCorpus]
NODES = st.integers(0, 25).map(lambda number: number * 0x0A3D70A3D70A3D71 % 2**64)


@given(
    st.lists(st.tuples(NODES, NODES), min_size=1, max_size=40),
    st.integers(1, 6),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_connected_nodes_have_one_task(
    pairs: list[tuple[int, int]], num_tasks: int, pages_per_task: int, random: object
) -> None:
    members = np.array([pair[0] for pair in pairs[::3]], np.uint64)
    nodes, task = components.tasks_of(
        np.array(pairs, np.uint64), members, num_tasks, pages_per_task
    )
    assert nodes.tolist() == sorted({node for pair in pairs for node in pair})
    assert set(task.tolist()) <= set(range(num_tasks))

    of_node = dict(zip(nodes.tolist(), task.tolist(), strict=True))
    assert all(of_node[one] == of_node[other] for one, other in pairs)
    other_order = [pair[::-1] for pair in pairs[::-1]]
    again = components.tasks_of(
        np.array(other_order, np.uint64), members[::-1], num_tasks, pages_per_task
    )
    assert (again[0].tolist(), again[1].tolist()) == (nodes.tolist(), task.tolist())


def test_large_components_share_a_task_up_to_the_bound() -> None:
    pairs = np.arange(80, dtype=np.uint64).reshape(-1, 2) << np.uint64(50)
    for pages_per_task, num_used in ((80, 1), (20, 4), (2, 8)):
        _, task = components.tasks_of(pairs, pairs.ravel(), 8, pages_per_task)
        assert np.unique(task).size == num_used


@pytest.mark.parametrize("pages_per_task", [1, 500_000])
def test_verdicts_do_not_depend_on_tasks(
    made_corpus: New, monkeypatch: pytest.MonkeyPatch, pages_per_task: int
) -> None:
    """Five families of pages in large buckets, in two batches."""
    monkeypatch.setattr(lsh, "FULL_BUCKET", 3)
    monkeypatch.setattr(lsh, "LEADERS", 1)
    sizes = []
    real = survivor_steps.load_survivors_reduce

    def counted(config: object, context: object) -> object:
        reduce = real(config, context)  # type: ignore[arg-type]

        def apply(bucket: int, table: object) -> object:
            output = reduce(bucket, table)  # type: ignore[arg-type]
            sizes.append(output.tables[CHOICES.name].num_rows)
            return output

        return apply

    pages = [
        Page(" ".join(f"f{family}w{word}" for word in range(60)) + f" end{number}", number)
        for family in range(5)
        for number in range(12)
    ]
    results = []
    for num_parts, counting in ((1, False), (5, True)):
        corpus = made_corpus()
        corpus.add("one", pages[::2], num_parts)
        corpus.add("two", pages[1::2], num_parts)
        step = survivor_steps.STEPS[1]
        if counting:
            object.__setattr__(step, "load_reduce", counted)
        try:
            for batch in ("one", "two"):
                setting = f"dedup.survivors.pages_per_task={pages_per_task}"
                assert corpus.dedup(batch, "--set", setting) == 0
        finally:
            object.__setattr__(step, "load_reduce", real)
        rows = [read_table(corpus.store, "verdicts", batch) for batch in ("one", "two")]
        results.append([table.to_pylist() for table in rows])
    assert results[0] == results[1]
    assert sum(row["kept"] for table in results[0] for row in table) == 5
    assert sum(size > 0 for size in sizes) == (10 if pages_per_task == 1 else 2)
