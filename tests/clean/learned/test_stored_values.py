"""Blocks and features as the model was fitted with: with others it judges pages that it never saw.

The stored values are those of the code that fitted the model. After a fit with new features, write
them again with `python -m tests.clean.learned.test_stored_values`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from xxhash import xxh3_64_hexdigest

from clean.learned.blocks import PageBlocks, blocks
from clean.learned.context import NAMES as CONTEXT_NAMES
from clean.learned.context import context
from clean.learned.extraction import Use, page_extractor
from clean.learned.features import NAMES, features
from clean.learned.layout import WORDS
from tests.clean.learned.generated_pages import generated_pages

STORED: Final = Path(__file__).with_name("stored_values.json")


def digest(text: str) -> str:
    return xxh3_64_hexdigest(text.encode())


def weights(size: int) -> np.ndarray:
    """Different for neighbours, so that a value in another row is seen."""
    return 1 + np.arange(size) % 97 / 97


def of_blocks(pages: list[PageBlocks]) -> Iterator[tuple[str, str]]:
    """A digest of each array, and of each column of counts, places and channels."""
    for name in PageBlocks._fields:
        arrays = [np.asarray(getattr(page, name)) for page in pages if name != "source"]
        for array in arrays[:1]:
            columns = range(array.shape[1]) if array.ndim == 2 else [None]
            for column in columns:
                parts = [each if column is None else each[:, column] for each in arrays]
                content = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
                key = name if column is None else f"{name}[{column}]"
                yield key, xxh3_64_hexdigest(content)


def of_rows(names: tuple[str, ...], rows: np.ndarray) -> Iterator[tuple[str, float]]:
    """A weighted sum of each feature."""
    for name, column in zip(names, rows.T, strict=True):
        yield name, float(column.astype(np.float64) @ weights(column.size))


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return values()


def values() -> dict[str, dict[str, Any]]:
    pages = [blocks(source) for source in generated_pages()]
    rows = np.concatenate([features(page) for page in pages])
    # Probabilities that depend on nothing but the blocks.
    chances = [(page.counts[:, WORDS] * 37 % 101 / 101).astype(np.float32) for page in pages]
    around = np.concatenate([context(*each) for each in zip(pages, chances, strict=True)])
    return {
        "blocks": dict(of_blocks(pages)),
        "features": dict(of_rows(NAMES, rows)),
        "context": dict(of_rows(CONTEXT_NAMES, around)),
        "texts": dict(of_texts()),
    }


def of_texts() -> Iterator[tuple[str, str]]:
    """Digests of text and Markdown by the purpose of an extraction."""
    sources = [source.decode("utf-8", "replace") for source in generated_pages()]
    for use in Use:
        extract = page_extractor(use, markdown=True, links=use is Use.RECALL)
        pages = [extract(source) for source in sources]
        yield f"{use} words", str(sum(page.visible_words for page in pages))
        yield f"{use} text", digest("\f".join(page.text for page in pages))
        yield f"{use} Markdown", digest("\f".join(page.markdown or "" for page in pages))


@pytest.mark.parametrize("kind", ["blocks", "features", "context", "texts"])
def test_values_are_those_of_the_model(kind: str, found: dict[str, dict[str, Any]]) -> None:
    stored = json.loads(STORED.read_text("utf-8"))[kind]
    assert found[kind].keys() == stored.keys()
    other = {
        name: (value, stored[name])
        for name, value in found[kind].items()
        if value
        != (
            pytest.approx(stored[name], rel=1e-6, abs=1e-4)
            if isinstance(value, float)
            else stored[name]
        )
    }
    assert not other


def test_pages_show_each_feature() -> None:
    """A feature without a value on any page would be stored as nothing."""
    pages = [blocks(source) for source in generated_pages()]
    rows = np.concatenate([features(page) for page in pages])
    constant = [name for name, column in zip(NAMES, rows.T, strict=True) if np.ptp(column) == 0]
    assert constant == []


if __name__ == "__main__":
    STORED.write_text(json.dumps(values(), indent=1) + "\n", "utf-8")
