"""Defaults that come from papers and recommendations, written down again from their sources.

`docs/settings.md` follows the code, so only this table notices a default that changes by accident.
"""

from __future__ import annotations

from typing import Any

import pytest

from clean.filters.c4 import C4Config
from clean.filters.gopher import STOP_WORDS, GopherConfig
from clean.filters.language import LanguageConfig
from clean.normalize import NormalizeConfig
from corpus.config import Section
from crawl.fetch.settings import FetchConfig
from dedup.config import DedupConfig
from dedup.contamination.overlap import OverlapConfig
from dedup.near_duplicates.minhash import MinhashConfig
from train.config import OptimizerConfig

TABLE: tuple[tuple[type[Section], str, Any, str], ...] = (
    (GopherConfig, "min_words", 50, "Rae et al. 2021, A.1.1"),
    (GopherConfig, "max_words", 100_000, "Rae et al. 2021, A.1.1"),
    (GopherConfig, "min_mean_word_chars", 3, "Rae et al. 2021, A.1.1"),
    (GopherConfig, "max_mean_word_chars", 10, "Rae et al. 2021, A.1.1"),
    (GopherConfig, "max_symbols_per_word", 0.1, "Rae et al. 2021, A.1.1"),
    (GopherConfig, "max_bullet_lines_frac", 0.9, "Rae et al. 2021, A.1.1"),
    (GopherConfig, "max_ellipsis_lines_frac", 0.3, "Rae et al. 2021, A.1.1"),
    (GopherConfig, "min_alphabetic_words_frac", 0.8, "Rae et al. 2021, A.1.1"),
    (GopherConfig, "min_stop_words", 2, "Rae et al. 2021, A.1.1"),
    (GopherConfig, "max_dup_lines_frac", 0.3, "Rae et al. 2021, table A1"),
    (GopherConfig, "max_dup_line_chars_frac", 0.2, "Rae et al. 2021, table A1"),
    (GopherConfig, "max_dup_paragraphs_frac", 0.3, "Rae et al. 2021, table A1"),
    (GopherConfig, "max_dup_paragraph_chars_frac", 0.2, "Rae et al. 2021, table A1"),
    (GopherConfig, "max_top_ngram_chars_frac", {2: 0.2, 3: 0.18, 4: 0.16}, "Rae et al. 2021, table A1"),
    (GopherConfig, "max_dup_ngram_chars_frac", {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1}, "Rae et al. 2021, table A1"),
    (C4Config, "terminal_punctuation", True, "Raffel et al. 2020, 2.2"),
    (C4Config, "min_words_per_line", 3, "Raffel et al. 2019, first version, 2.2"),
    (C4Config, "min_sentences", 5, "Raffel et al. 2019, first version, 2.2"),
    (C4Config, "max_word_chars", 1000, "tensorflow/datasets, c4_utils.py"),
    (LanguageConfig, "languages", ("en",), "Radford et al. 2019, 3.7"),
    (LanguageConfig, "min_score", 0.5, "Wenzek et al. 2020"),
    (NormalizeConfig, "max_replacement_frac", 0.02, "ours"),
    (NormalizeConfig, "min_letter_frac", 0.25, "ours"),
    (OverlapConfig, "n", 13, "Brown et al. 2020, appendix C"),
    (OverlapConfig, "measure_n", (8,), "Radford et al. 2019, table 6"),
    (OverlapConfig, "common_pages", 10, "Brown et al. 2020, appendix C"),
    (OverlapConfig, "window_chars", 200, "Brown et al. 2020, appendix C"),
    (OverlapConfig, "min_piece_chars", 200, "Brown et al. 2020, appendix C"),
    (OverlapConfig, "max_pieces", 10, "Brown et al. 2020, appendix C"),
    (DedupConfig, "threshold", 0.75, "docs/dedup.md"),
    (MinhashConfig, "seed", 1, "part of every signature that was ever stored"),
    (FetchConfig, "max_retry_after_s", 3600.0, "ours"),
    (FetchConfig, "max_body_bytes", 5 << 20, "Common Crawl"),
    (OptimizerConfig, "beta1", 0.9, "Brown et al. 2020, appendix B"),
    (OptimizerConfig, "beta2", 0.95, "Brown et al. 2020, appendix B"),
    (OptimizerConfig, "eps", 1e-8, "Brown et al. 2020, appendix B"),
    (OptimizerConfig, "weight_decay", 0.1, "Brown et al. 2020, appendix B"),
    (OptimizerConfig, "grad_clip", 1.0, "Brown et al. 2020, appendix B"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("section", "name", "value", "source"),
    TABLE,
    ids=[f"{row[0].__name__}.{row[1]}" for row in TABLE],
)
def test_a_default_is_that_of_its_source(
    section: type[Section], name: str, value: Any, source: str
) -> None:
    assert getattr(section(), name) == value, source


def test_stop_words_are_those_of_gopher() -> None:
    assert sorted(STOP_WORDS) == ["and", "be", "have", "of", "that", "the", "to", "with"]
