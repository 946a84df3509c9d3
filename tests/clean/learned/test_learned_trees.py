from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clean.learned import trees
from clean.learned.trees import Forest, Model
from corpus.errors import InputError


def random_forest(seed: int, num_features: int = 5) -> Forest:
    """Trees of random shape; thresholds are values that rows have, so that ties happen."""
    draw = np.random.default_rng(seed)
    roots, depths, nodes = [], [], []

    def add(depth: int) -> tuple[int, int]:
        number = len(nodes)
        nodes.append((0, np.inf, number, number, draw.normal()))
        if depth == 0 or draw.random() < 0.2:
            return number, 0
        left, below = add(depth - 1)
        right, other = add(depth - 1)
        nodes[number] = (draw.integers(num_features), float(draw.integers(-3, 4)), left, right, 0.0)
        return number, 1 + max(below, other)

    for _ in range(7):
        root, depth = add(6)
        roots.append(root)
        depths.append(depth)
    table = np.array(nodes)
    return Forest(
        np.array(roots, np.int32),
        np.array(depths, np.int32),
        table[:, 0].astype(np.int16),
        table[:, 1].astype(np.float32),
        table[:, 2:4].astype(np.int32),
        table[:, 4].astype(np.float32),
    )


def walk(forest: Forest, row: np.ndarray) -> float:
    total = 0.0
    for root in forest.roots:
        node = int(root)
        while forest.child[node, 0] != node:
            node = int(forest.child[node, int(row[forest.feature[node]] > forest.threshold[node])])
        total += float(forest.value[node])
    return total


@given(st.integers(0, 10_000), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_scores_are_those_of_walking_each_tree(seed: int, num_rows: int) -> None:
    forest = random_forest(seed)
    rows = np.random.default_rng(seed).integers(-4, 5, (num_rows, 5)).astype(np.float32)
    every = [walk(forest, row) for row in rows]
    assert trees.scores(forest, rows).tolist() == every
    chosen = np.flatnonzero(np.random.default_rng(seed + 1).random(num_rows) < 0.5)
    assert trees.scores(forest, rows, chosen).tolist() == [every[row] for row in chosen]


@given(st.floats(allow_nan=False, width=64), st.floats(allow_nan=False, width=32))
def test_rounding_a_threshold_down_changes_no_comparison(threshold: float, value: float) -> None:
    with np.errstate(over="ignore"):
        rounded = trees.round_down(np.array([threshold]))[0]
    assert (np.float32(value) > rounded) == (np.float64(np.float32(value)) > threshold)


def test_a_model_comes_back_as_it_was_and_its_bytes_too() -> None:
    model = Model((random_forest(1), random_forest(2)), ("a", "b", "c", "d", "e"))
    content = trees.save(model)
    found = trees.load(content)
    assert found.names == model.names
    for ours, theirs in zip(model.forests, found.forests, strict=True):
        assert all(
            np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(ours, theirs, strict=True)
        )
    assert trees.save(found) == content


@pytest.mark.parametrize(
    ("field", "value"),
    [("child", 10_000), ("child", -1), ("feature", 5), ("roots", -2), ("depth", 100_000)],
)
def test_a_model_that_points_outside_itself_is_refused(field: str, value: int) -> None:
    forest = random_forest(3)
    array = getattr(forest, field).copy()
    array.flat[0] = value
    content = trees.save(Model((forest._replace(**{field: array}),), ("a", "b", "c", "d", "e")))
    with pytest.raises(InputError, match=r"damaged.*python -m tools\.fit_extractor"):
        trees.load(content)


def test_other_files_are_refused() -> None:
    whole = trees.save(Model((random_forest(4),), ("a",)))
    archive = io.BytesIO()
    np.savez(archive, format=np.array(99), names=np.array(["a"]))
    for content in (b"", b"PK\3\4 and no more", whole[: len(whole) // 2]):
        with pytest.raises(InputError, match="not a model file"):
            trees.load(content)
    with pytest.raises(InputError, match="model format 99, expected 1"):
        trees.load(archive.getvalue())
