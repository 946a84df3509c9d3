"""Features by name: a value in another's column is seen here, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clean.learned import context
from clean.learned.blocks import blocks
from clean.learned.extraction import model
from clean.learned.features import NAMES, NUM_FEATURES, features, registry
from clean.learned.layout import END, START

FOLDER = Path(__file__).parent
PAGE = (FOLDER / "golden_page.html").read_bytes()
GOLDEN = json.loads((FOLDER / "golden_features.json").read_text("utf-8"))
"""The features other than 0 of some blocks of the page, by the block's text."""


def found() -> dict[str, dict[str, float]]:
    page = blocks(PAGE)
    rows = features(page)
    text = page.text.tobytes()
    return {
        text[place[START] : place[END]].decode(): dict(zip(NAMES, row, strict=True))
        for place, row in zip(page.place.tolist(), rows.tolist(), strict=True)
    }


@pytest.mark.parametrize("block", GOLDEN)
def test_features_of_a_page_by_name(block: str) -> None:
    own = found()[block]
    expected = dict.fromkeys(NAMES, 0.0) | GOLDEN[block]
    assert own == pytest.approx(expected, abs=1e-6)


def test_values_that_a_reader_can_check() -> None:
    """Counted by hand on the page, so that the golden file itself is not taken on trust."""
    blocks_of = found()
    story = blocks_of[
        "On Monday the council voted to rebuild the old bridge over the river, after three years of "
        'debate; the mayor said that it would cost "$4.5 million" (more than in 2019).'
    ]
    assert story["words"] == 32
    assert story["links"] == 1
    assert story["group_date"] == pytest.approx(1 / 32)
    assert story["kind_p"] == 1
    assert story["next+1_words"] == 5
    assert story["heading_level"] == 1
    assert story["heading_distance"] == 2
    assert story["mark_article"] == 1
    assert story["articles"] == 1
    comment = blocks_of["They should have done this years ago, really."]
    assert comment["near_comment"] == 15
    assert comment["heading_words"] == 2
    assert comment["same_kind_siblings"] == 1
    hidden = blocks_of["Hidden words of a widget"]
    assert hidden["hidden"] == 1
    cell = blocks_of["4.5 million"]
    assert (cell["in_cell"], cell["in_row"], cell["kind_td"]) == (1, 1, 1)


def test_each_name_is_there_once_and_the_model_has_them_all() -> None:
    assert len(set(NAMES)) == NUM_FEATURES
    assert model().names == NAMES + context.NAMES


def test_caps_bound_the_features_of_a_long_page() -> None:
    page = blocks(PAGE + b"<div><p>A paragraph of a few words.</div>" * 3000)
    rows = features(page)
    for name, cap in registry.CAPS.items():
        assert rows[:, NAMES.index(name)].max() <= cap, name
    for name in ("index", "page_blocks", "same_kind_siblings", "repeats", "container4_index"):
        assert rows[:, NAMES.index(name)].max() == registry.CAPS[name], name
    for name, floor in registry.FLOORS.items():
        assert rows[:, NAMES.index(name)].min() >= np.float32(floor), name
    assert rows[:, NAMES.index("container0_block_share")].min() == np.float32(1 / 527)


def test_room_for_further_columns_changes_nothing() -> None:
    page = blocks(PAGE)
    assert np.array_equal(features(page, 7)[:, :NUM_FEATURES], features(page))
