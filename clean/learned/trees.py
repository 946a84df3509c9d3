"""Gradient-boosted trees as plain arrays: loaded from a file, evaluated by compiled code.

A forest is the nodes of its trees, one tree after another. A node sends a row to its second child
if the row's feature is above the threshold, else to its first. A leaf sends it to itself, so every
tree can be walked for a number of steps known beforehand. Thresholds are float32, as rows are;
rounding them down changes no comparison. Leaves are summed in float64 in the order of the trees, so
the score of a row is the same bits everywhere.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any, Final, NamedTuple

import numpy as np

from clean.learned.compiled import compiled
from corpus.errors import InputError

FORMAT: Final = 1
# Rows walked down a tree in step: enough that a core always has a load to wait for. With 8 rows a
# page took .62 ms, with 32 .45, with 64 .49 (2026-11).
STRIDE: Final = 32


class Forest(NamedTuple):
    """Trees, t of them, with n nodes in all, leaves among them."""

    roots: np.ndarray  # (t,) int32, the node that a tree begins with
    depth: np.ndarray  # (t,) int32, steps from there to the farthest leaf
    feature: np.ndarray  # (n,) int16
    threshold: np.ndarray  # (n,) float32
    child: np.ndarray  # (n, 2) int32
    value: np.ndarray  # (n,) float32, of leaves


class Model(NamedTuple):
    """Forests to use one after the other, and the names of their features."""

    forests: tuple[Forest, ...]
    names: tuple[str, ...]


def scores(forest: Forest, rows: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
    """Scores of rows, (n,) float64 log-odds: the sum of each row's leaves. Rows are (n, features)
    float32. With `chosen`, (m,) int64, the scores of these rows alone.
    """
    chosen = np.arange(rows.shape[0]) if chosen is None else chosen
    out = np.zeros(chosen.size, np.float64)
    if chosen.size:
        flat = forest._replace(child=forest.child.ravel())
        _scores(*flat, rows.ravel(), rows.shape[1], chosen, out)

    return out


@compiled
def _scores(
    roots: Any,
    depth: Any,
    feature: Any,
    threshold: Any,
    children: Any,
    value: Any,
    rows: Any,
    width: Any,
    chosen: Any,
    out: Any,
) -> None:
    """Walks `STRIDE` rows in step and without branches. Overlapping loads make this three times as fast."""
    last = out.size - 1
    at = np.zeros(STRIDE, np.uint32)
    base = np.zeros(STRIDE, np.int64)

    for start in range(0, out.size, STRIDE):
        for lane in range(STRIDE):
            base[lane] = chosen[min(start + lane, last)] * width
        for tree in range(roots.size):
            for lane in range(STRIDE):
                at[lane] = roots[tree]
            for _ in range(depth[tree]):
                for lane in range(STRIDE):
                    node = at[lane]
                    above = rows[base[lane] + feature[node]] > threshold[node]
                    at[lane] = children[2 * node + np.uint32(above)]
            for lane in range(min(STRIDE, out.size - start)):
                out[start + lane] += value[at[lane]]


def round_down(values: np.ndarray) -> np.ndarray:
    """The largest float32 not above each float64."""
    nearest = values.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest.astype(np.float64) > values, below, nearest)


def save(model: Model) -> bytes:
    """The bytes of a model's file, an `.npz` of plain arrays. Equal models give equal bytes."""
    arrays: dict[str, np.ndarray] = {"format": np.array(FORMAT), "names": np.array(model.names)}
    for number, forest in enumerate(model.forests):
        arrays |= {f"{name}{number}": array for name, array in forest._asdict().items()}
    buffer = io.BytesIO()

    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED)

    return buffer.getvalue()


def load(content: bytes) -> Model:
    """Reads a model from the bytes of a file.

    Raises: InputError if the bytes are not a model of this format, or contain an index out of
    range.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        version = int(arrays["format"])
        names = tuple(str(name) for name in arrays["names"])
        forests: list[Forest] = []
        while f"roots{len(forests)}" in arrays:
            forests.append(Forest(*(arrays[f"{name}{len(forests)}"] for name in Forest._fields)))
    except (
        ValueError,
        OSError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        EOFError,
    ) as error:
        raise InputError(
            f"not a model file ({error}); make one with `python -m tools.fit_extractor`"
        ) from error

    if version != FORMAT:
        raise InputError(
            f"model format {version}, expected {FORMAT}; "
            "fit it again with `python -m tools.fit_extractor`"
        )
    if not all(_is_sound(forest, len(names)) for forest in forests):
        raise InputError(
            "the model file is damaged: an index is out of range; "
            "fit it again with `python -m tools.fit_extractor`"
        )

    return Model(tuple(forests), names)


def _is_sound(forest: Forest, num_features: int) -> bool:
    """True if every index is in range. numba itself does not check."""
    roots, depth, feature, threshold, child, value = forest
    nodes = feature.size
    return (
        feature.shape == threshold.shape == value.shape == (nodes,)
        and child.shape == (nodes, 2)
        and roots.shape == depth.shape == (roots.size,)
        and all(np.all((array >= 0) & (array < nodes)) for array in (roots, child))
        and bool(np.all((feature >= 0) & (feature < num_features) & (depth.max(initial=0) < 1000)))
    )
