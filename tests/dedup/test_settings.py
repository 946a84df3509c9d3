"""Values that settings may have: the last one allowed on each side, and the first one refused."""

from __future__ import annotations

from typing import Any

import pytest

from corpus.config import Section
from dedup.config import DedupConfig
from dedup.near_duplicates.lsh import LshConfig
from dedup.near_duplicates.minhash import MinhashConfig
from dedup.near_duplicates.survivors_config import SurvivorsConfig
from dedup.passages_config import PassagesConfig
from dedup.words import ShinglesConfig
from tests.setting_values import check_values

TABLE: tuple[tuple[type[Section], str, tuple[Any, ...], tuple[Any, ...]], ...] = (
    (DedupConfig, "threshold", (0.001, 1.0), (0.0, -0.1, 1.001)),
    (DedupConfig, "containment", (0.0, 0.5, 1.0), (0.499, 1.001, -0.5)),
    (ShinglesConfig, "n", (1, 64), (0, 65)),
    (MinhashConfig, "seed", (0, (1 << 32) - 1), (-1, 1 << 32)),
    (SurvivorsConfig, "prefer", ((), ("score", "clean", "length")), (("score", "score"),)),
    (SurvivorsConfig, "pages_per_task", (1, 2), (0, -1)),
    (PassagesConfig, "min_words", (0, 8), (1, 7)),
)


@pytest.mark.parametrize(
    ("section", "name", "allowed", "refused"),
    TABLE,
    ids=[f"{row[0].__name__}.{row[1]}" for row in TABLE],
)
def test_values_of_a_setting(
    section: type[Section], name: str, allowed: tuple[Any, ...], refused: tuple[Any, ...]
) -> None:
    check_values(section, name, allowed, refused, name)


@pytest.mark.parametrize(
    ("num_bands", "rows_per_band", "allowed"),
    [(1, 1, True), (0, 9, False), (9, 0, False), (64, 64, True), (4096, 1, True), (17, 241, False)],
)
def test_a_signature_has_up_to_4096_values(
    num_bands: int, rows_per_band: int, allowed: bool
) -> None:
    def made() -> LshConfig:
        return LshConfig(num_bands=num_bands, rows_per_band=rows_per_band)

    if allowed:
        assert made().num_perm == num_bands * rows_per_band
    else:
        with pytest.raises(ValueError, match="allowed"):
            made()


def test_bands_that_are_not_set_follow_the_threshold() -> None:
    steep = DedupConfig(threshold=1.0).lsh
    assert steep.rows_per_band > DedupConfig().lsh.rows_per_band
    assert DedupConfig(threshold=1.0, lsh={"num_bands": 3}).lsh.num_bands == 3  # type: ignore[arg-type]
