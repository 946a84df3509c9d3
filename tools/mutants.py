"""Puts small faults into pure modules, one at a time, and counts how many the tests notice.

    python -m tools.mutants [--seed 1] [--number 5] [--minutes 10] [--jobs 2] [--kinds KIND ...]
                            [--modules MODULE ...]

Each fault changes one comparison, number, operator, condition or min/max in a copy of the checkout,
in which the tests of that module then run. A fault that no test notices is printed. Faults are
taken in a seeded order, one of each module in turn, until the time is over. Faults that change no
behaviour are listed in `EQUIVALENT` with the reason and are left out of the sample. The score is
printed by kind: borders (<, <=, >, >=), limits (numbers of constants and defaults), and others.
`--kinds borders limits` draws from these alone, which a sample of all kinds has few of.
`make mutants`; not part of the suite.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVER = Path(__file__).with_name("mutant_server.py")
CPU_S = 60
MEMORY_BYTES = 16 << 30
COPIED = ("*.pyc", ".git", ".venv*", ".mypy_cache", ".ruff_cache", ".hypothesis", "site", "docs")

TESTS = {
    "clean/filters/c4.py": (
        "tests/clean/test_borders.py",
        "tests/clean/filters/test_quality.py",
    ),
    "clean/filters/gopher.py": (
        "tests/clean/test_borders.py",
        "tests/clean/filters/test_gopher_borders.py",
        "tests/clean/filters/test_quality.py",
    ),
    "clean/filters/language.py": (
        "tests/clean/test_borders.py",
        "tests/clean/filters/test_language.py",
    ),
    "clean/filters/profile.py": (
        "tests/clean/filters/test_gopher_borders.py",
        "tests/clean/test_borders.py",
        "tests/clean/filters/test_quality.py",
    ),
    "clean/learned/features/containers.py": (
        "tests/clean/learned/test_containers.py",
        "tests/clean/learned/test_features.py",
    ),
    "clean/normalize.py": (
        "tests/clean/test_borders.py",
        "tests/clean/test_normalize.py",
    ),
    "clean/page_source/decode.py": (
        "tests/clean/test_borders.py",
        "tests/clean/page_source/test_decode.py",
        "tests/clean/page_source/test_guess.py",
    ),
    "clean/filters/fineweb.py": (
        "tests/clean/test_borders.py",
        "tests/clean/filters/test_quality.py",
    ),
    "clean/filters/personal.py": ("tests/clean/filters/test_personal.py",),
    "clean/filters/quality.py": (
        "tests/clean/test_borders.py",
        "tests/clean/filters/test_quality.py",
    ),
    "clean/filters/wikipedia.py": ("tests/clean/filters/test_wikipedia.py",),
    "clean/kept_share.py": ("tests/clean/test_kept_share.py",),
    "clean/page_source/embedded.py": ("tests/clean/page_source/test_embedded.py",),
    "clean/page_source/guess.py": ("tests/clean/page_source/test_guess.py",),
    "clean/page_source/metadata.py": ("tests/clean/page_source/test_metadata.py",),
    "clean/page_source/prescan.py": ("tests/clean/page_source/test_prescan.py",),
    "clean/rewrite/code.py": ("tests/clean/rewrite/test_code_markup.py",),
    "clean/rewrite/formulas.py": ("tests/clean/rewrite/test_formulas.py",),
    "clean/rewrite/mathml.py": ("tests/clean/rewrite/test_formulas.py",),
    "clean/soft_failures/addresses.py": ("tests/clean/soft_failures/test_soft_failures.py",),
    "clean/soft_failures/repeats.py": ("tests/clean/test_repeats.py",),
    "clean/soft_failures/rules.py": (
        "tests/clean/soft_failures/test_rule_borders.py",
        "tests/clean/soft_failures/test_soft_failures.py",
    ),
    "clean/learned/hidden.py": ("tests/clean/learned/test_hidden.py",),
    "corpus/config.py": ("tests/corpus/test_config.py",),
    "corpus/credentials.py": ("tests/corpus/storage/test_credentials.py",),
    "corpus/durations.py": ("tests/corpus/test_durations.py",),
    "corpus/evaluation_sets/childrens_book.py": (
        "tests/corpus/evaluation_sets/test_childrens_book.py",
    ),
    "corpus/evaluation_sets/files.py": ("tests/corpus/evaluation_sets/test_testsets.py",),
    "corpus/evaluation_sets/official.py": ("tests/corpus/evaluation_sets/test_officialsets.py",),
    "corpus/evaluation_sets/records.py": (
        "tests/corpus/evaluation_sets/test_records.py",
        "tests/corpus/evaluation_sets/test_testsets.py",
    ),
    "corpus/markdown.py": ("tests/corpus/test_printable.py",),
    "corpus/printable.py": ("tests/corpus/test_printable.py",),
    "corpus/run/funnel.py": (
        "tests/corpus/run/test_funnel.py",
        "tests/corpus/run/test_screen.py",
    ),
    "corpus/run/metrics.py": ("tests/corpus/run/test_metrics.py",),
    "corpus/run/progress.py": ("tests/corpus/run/test_progress.py",),
    "corpus/run/screen.py": (
        "tests/corpus/run/test_progress.py",
        "tests/corpus/run/test_screen.py",
    ),
    "corpus/run/stragglers.py": ("tests/corpus/run/test_straggler_limits.py",),
    "corpus/snapshots/file_lists.py": (
        "tests/corpus/snapshots/test_file_lists.py",
        "tests/corpus/snapshots/test_snapshot.py",
    ),
    "corpus/snapshots/snapshot.py": ("tests/corpus/snapshots/test_snapshot.py",),
    "corpus/storage/interface.py": (
        "tests/corpus/storage/test_layout.py",
        "tests/corpus/storage/test_storage.py",
    ),
    "corpus/storage/local.py": (
        "tests/corpus/test_borders.py",
        "tests/corpus/storage/test_storage.py",
        "tests/corpus/storage/test_layout.py",
    ),
    "corpus/storage/store.py": (
        "tests/corpus/storage/test_storage.py",
        "tests/corpus/storage/test_layout.py",
    ),
    "corpus/tables/checksums.py": ("tests/corpus/tables/test_digests.py",),
    "corpus/tables/commit.py": (
        "tests/corpus/test_borders.py",
        "tests/corpus/storage/test_lock.py",
        "tests/corpus/tables/test_tables.py",
    ),
    "corpus/tables/conservation.py": ("tests/corpus/test_laws.py",),
    "corpus/tables/manifest.py": ("tests/corpus/tables/test_tables.py",),
    "corpus/tables/mentions.py": ("tests/corpus/test_mentions.py",),
    "corpus/tables/parquet.py": (
        "tests/corpus/tables/test_parquet_limits.py",
        "tests/corpus/tables/test_tables.py",
    ),
    "corpus/urls.py": ("tests/corpus/test_urls.py",),
    "corpus/zstd.py": ("tests/corpus/test_zstd.py",),
    "crawl/fetch/pace/politeness.py": (
        "tests/crawl/test_borders.py",
        "tests/crawl/fetch/pace/test_politeness.py",
        "tests/crawl/fetch/test_dispatch.py",
    ),
    "crawl/fetch/permission/robots.py": (
        "tests/crawl/test_borders.py",
        "tests/crawl/fetch/permission/test_robots.py",
    ),
    "crawl/warc/body.py": (
        "tests/crawl/test_borders.py",
        "tests/crawl/warc/test_codings.py",
        "tests/crawl/warc/test_warc.py",
    ),
    "crawl/warc/codings.py": (
        "tests/crawl/test_borders.py",
        "tests/crawl/warc/test_codings.py",
        "tests/crawl/warc/test_warc.py",
    ),
    "crawl/links/dump_memory.py": ("tests/crawl/links/test_memory.py",),
    "crawl/links/maturity.py": ("tests/crawl/links/test_maturity.py",),
    "crawl/links/judge.py": (
        "tests/crawl/links/test_link_borders.py",
        "tests/crawl/links/test_links.py",
    ),
    "crawl/links/select.py": (
        "tests/crawl/links/test_link_borders.py",
        "tests/crawl/links/test_links.py",
    ),
    "crawl/links/rows.py": (
        "tests/crawl/links/test_rows.py",
        "tests/crawl/links/test_submissions.py",
    ),
    "crawl/links/xz_blocks.py": ("tests/crawl/links/test_windows.py",),
    "crawl/plan.py": ("tests/crawl/test_plan.py",),
    "crawl/captures/cdx_server.py": ("tests/crawl/captures/test_captures.py",),
    "crawl/captures/choice.py": ("tests/crawl/captures/test_captures.py",),
    "crawl/captures/index.py": ("tests/crawl/captures/test_captures.py",),
    "crawl/fetch/chain_cookies.py": ("tests/crawl/fetch/test_chain_cookies.py",),
    "crawl/fetch/walls.py": ("tests/crawl/fetch/test_walls.py",),
    "crawl/fetch/network/body_budget.py": ("tests/crawl/fetch/network/test_limits.py",),
    "crawl/fetch/network/wire.py": (
        "tests/crawl/fetch/network/test_limits.py",
        "tests/crawl/fetch/network/test_wire.py",
    ),
    "crawl/fetch/pace/frontier.py": ("tests/crawl/fetch/test_frontier.py",),
    "crawl/fetch/permission/aged_cache.py": ("tests/crawl/fetch/permission/test_aged_cache.py",),
    "crawl/rights/structured_fields.py": (
        "tests/crawl/rights/test_structured_fields.py",
        "tests/crawl/rights/test_conformance.py",
    ),
    "crawl/warc/kind.py": ("tests/clean/test_document.py",),
    "crawl/warc/members.py": ("tests/crawl/warc/test_members.py",),
    "crawl/warc/records.py": (
        "tests/crawl/warc/test_warc.py",
        "tests/crawl/warc/test_members.py",
    ),
    "dedup/config.py": ("tests/dedup/test_settings.py",),
    "dedup/contamination/common_speech.py": (
        "tests/dedup/contamination/test_borders.py",
        "tests/dedup/test_leaks.py",
    ),
    "dedup/contamination/near_match.py": (
        "tests/dedup/contamination/test_borders.py",
        "tests/dedup/test_goldens.py",
        "tests/dedup/contamination/test_near_match.py",
    ),
    "dedup/contamination/overlap.py": (
        "tests/dedup/test_borders.py",
        "tests/dedup/contamination/test_overlap.py",
    ),
    "dedup/contamination/test_index.py": (
        "tests/dedup/contamination/test_near_match.py",
        "tests/dedup/contamination/test_overlap.py",
    ),
    "dedup/doc_ids.py": ("tests/dedup/test_doc_ids.py",),
    "dedup/folding.py": ("tests/dedup/test_folding.py",),
    "dedup/near_duplicates/candidate_steps.py": (
        "tests/dedup/near_duplicates/test_steps.py",
        "tests/dedup/near_duplicates/test_components.py",
    ),
    "dedup/near_duplicates/components.py": (
        "tests/dedup/near_duplicates/test_steps.py",
        "tests/dedup/near_duplicates/test_components.py",
    ),
    "dedup/near_duplicates/containment.py": ("tests/dedup/near_duplicates/test_containment.py",),
    "dedup/near_duplicates/greedy.py": (
        "tests/dedup/near_duplicates/test_savepoint.py",
        "tests/dedup/test_survivors.py",
    ),
    "dedup/near_duplicates/groups.py": (
        "tests/dedup/near_duplicates/test_steps.py",
        "tests/dedup/test_look.py",
    ),
    "dedup/near_duplicates/lsh.py": (
        "tests/dedup/test_goldens.py",
        "tests/dedup/near_duplicates/test_lsh.py",
    ),
    "dedup/near_duplicates/minhash.py": (
        "tests/dedup/test_goldens.py",
        "tests/dedup/test_borders.py",
        "tests/dedup/near_duplicates/test_minhash.py",
        "tests/dedup/test_guarantees.py",
    ),
    "dedup/near_duplicates/ranks.py": (
        "tests/dedup/near_duplicates/test_steps.py",
        "tests/dedup/test_borders.py",
    ),
    "dedup/near_duplicates/savepoint.py": (
        "tests/dedup/near_duplicates/test_steps.py",
        "tests/dedup/near_duplicates/test_savepoint.py",
    ),
    "dedup/near_duplicates/shingle_store.py": ("tests/dedup/test_survivors.py",),
    "dedup/near_duplicates/signature_steps.py": (
        "tests/dedup/near_duplicates/test_steps.py",
        "tests/dedup/near_duplicates/test_components.py",
    ),
    "dedup/near_duplicates/survivor_steps.py": ("tests/dedup/near_duplicates/test_components.py",),
    "dedup/near_duplicates/survivors_config.py": ("tests/dedup/test_settings.py",),
    "dedup/passage_spans.py": (
        "tests/dedup/test_goldens.py",
        "tests/dedup/test_passages.py",
    ),
    "dedup/passages_config.py": ("tests/dedup/test_settings.py",),
    "dedup/sentences.py": ("tests/dedup/test_sentences.py",),
    "dedup/words.py": (
        "tests/dedup/test_goldens.py",
        "tests/dedup/near_duplicates/test_containment.py",
        "tests/dedup/test_words.py",
        "tests/dedup/test_folding.py",
    ),
    "shards/pin_tokenizer.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_tokenizer.py",
    ),
    "shards/split.py": ("tests/shards/test_goldens.py",),
    "shards/stream/best_fit.py": ("tests/shards/test_packing.py",),
    "shards/stream/blocks.py": ("tests/shards/test_reader.py",),
    "shards/stream/by_weight.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_by_weight.py",
    ),
    "shards/stream/cache.py": ("tests/shards/test_cache.py",),
    "shards/stream/epochs.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_order.py",
    ),
    "shards/stream/file_layout.py": (
        "tests/shards/test_cache.py",
        "tests/shards/test_goldens.py",
    ),
    "shards/stream/local_files.py": ("tests/shards/test_reader.py",),
    "shards/stream/mixture.py": ("tests/shards/test_mixture.py",),
    "shards/stream/order.py": (
        "tests/shards/test_goldens.py",
        "tests/shards/test_order.py",
    ),
    "shards/stream/packing.py": (
        "tests/shards/test_goldens.py",
        "tests/shards/test_packed_order.py",
        "tests/shards/test_packing.py",
    ),
    "shards/stream/row_groups.py": (
        "tests/shards/test_reader.py",
        "tests/shards/test_cache.py",
    ),
    "shards/stream/selection.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_mixture.py",
    ),
    "shards/stream/sources.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_mixture.py",
    ),
    "shards/stream/tokens.py": (
        "tests/shards/test_reader.py",
        "tests/shards/test_states.py",
    ),
    "shards/tokenizer/byte_spelling.py": ("tests/shards/test_tokenizer_forms.py",),
    "shards/tokenizer/document_check.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_tokenizer_forms.py",
        "tests/shards/test_vocabulary.py",
    ),
    "shards/tokenizer/encode.py": ("tests/shards/test_tokenizer.py",),
    "shards/tokenizer/split_rules.py": ("tests/shards/test_split_rules.py",),
    "shards/tokenizer/unsettled.py": ("tests/shards/test_tokenizer.py",),
    "shards/tokenizer/vocabulary.py": (
        "tests/shards/test_vocabulary.py",
        "tests/shards/test_tokenizer_forms.py",
    ),
    "shards/tokenizer/vocabulary_files.py": ("tests/shards/test_vocabulary.py",),
    "shards/tokenizer_sample.py": ("tests/shards/test_borders.py",),
    "shards/write_step.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_goldens.py",
    ),
    "train/checkpoints/record.py": (
        "tests/train/gpt2/test_sizes.py",
        "tests/train/checkpoints/test_checkpoint.py",
    ),
    "train/checkpoints/tensor_files.py": ("tests/train/checkpoints/test_checkpoint.py",),
    "train/config.py": ("tests/train/test_config.py",),
    "train/gpt2/document_attention.py": (
        "tests/train/gpt2/test_sizes.py",
        "tests/train/gpt2/test_document_attention.py",
    ),
    "train/gpt2/gguf.py": ("tests/train/gpt2/test_gguf.py",),
    "train/gpt2/hf_config.py": (
        "tests/train/gpt2/test_sizes.py",
        "tests/train/gpt2/test_hf_folders.py",
        "tests/train/gpt2/test_huggingface.py",
    ),
    "train/gpt2/hf_files.py": ("tests/train/gpt2/test_hf_folders.py",),
    "train/gpt2/huggingface.py": (
        "tests/train/gpt2/test_sizes.py",
        "tests/train/gpt2/test_hf_folders.py",
        "tests/train/gpt2/test_huggingface.py",
    ),
    "train/gpt2/loss.py": ("tests/train/gpt2/test_loss.py",),
    "train/gpt2/model.py": (
        "tests/train/test_goldens.py",
        "tests/train/gpt2/test_model.py",
        "tests/train/gpt2/test_document_attention.py",
    ),
    "train/gpt2/sampling.py": ("tests/train/gpt2/test_sampling.py",),
    "train/machine/memory.py": ("tests/train/machine/test_memory.py",),
    "train/machine/stragglers.py": ("tests/train/machine/test_places.py",),
    "train/monitoring/divergence.py": ("tests/train/monitoring/test_watches.py",),
    "train/monitoring/meter.py": ("tests/train/monitoring/test_watches.py",),
    "train/optimizer.py": (
        "tests/train/test_goldens.py",
        "tests/train/test_optimizer.py",
    ),
    "train/scores/logprobs.py": (
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_evaluate.py",
    ),
    "train/scores/paper.py": (
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_scores.py",
    ),
    "train/scores/tasks/few_shot.py": (
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_few_shot.py",
    ),
    "train/scores/tasks/generation.py": (
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_evaluate.py",
    ),
    "train/scores/tasks/language.py": (
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_evaluate.py",
    ),
    "train/scores/tasks/task.py": (
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_evaluate.py",
    ),
    "train/scores/texts.py": (
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_held_out.py",
    ),
    "train/sweep.py": (
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_sweep.py",
    ),
    "webtext/look/text_marks.py": ("tests/webtext/look/test_look_answers.py",),
    "webtext/proof/merkle.py": ("tests/webtext/test_proof.py",),
    "webtext/proof/minisign.py": ("tests/webtext/test_proof.py",),
}
"""Modules without a clock or a network, and the tests that hold each of them."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitXor: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


KINDS = ("borders", "limits", "others")
SWITCHES = ("strict", "slots", "frozen")

HELD_FOR_ALL = (
    "tests/test_paper_defaults.py",
    "tests/test_safety_limits.py",
)


@dataclass(frozen=True)
class Mutant:
    """One fault of a module, and where it is."""

    module: str
    original: str
    """The text of the module without the fault."""
    number: int
    """Its place among the expressions that get a fault."""
    line: int
    before: str
    after: str
    kind: str

    @property
    def source(self) -> str:
        """The module's text with the fault."""
        tree = ast.parse(self.original)
        node = [each for each in ast.walk(tree) if _changed(each) is not None][self.number]
        changed = _changed(node)
        assert changed is not None
        for field, value in ast.iter_fields(changed):
            setattr(node, field, value)
        return ast.unparse(tree)

    @property
    def text(self) -> str:
        """The line that it changes, without the fault and stripped."""
        return self.original.splitlines()[self.line - 1].strip()

    @property
    def equivalent(self) -> bool:
        """True if `EQUIVALENT` has it."""
        return (self.module, self.text, self.before, self.after) in EQUIVALENT


# Module, line, expression and its replacement, with the reason why no behaviour changes.
EQUIVALENT: dict[tuple[str, str, str, str], str] = {
    (
        "clean/learned/hidden.py",
        "candidates &= (page.channels[:, _CANDIDATES] > 0).any(axis=1)",
        "page.channels[:, _CANDIDATES] > 0",
        "page.channels[:, _CANDIDATES] >= 0",
    ): "All blocks are looked at closely then, and those without such a class are not found.",
    (
        "crawl/fetch/pace/politeness.py",
        "@lru_cache(maxsize=1 << 14)",
        "1 << 14",
        "1 >> 14",
    ): "The size of a cache changes the time alone.",
    (
        "crawl/plan.py",
        "largest = min(max(domains.values(), default=0), cap or max(domains.values(), default=0))",
        "0",
        "1",
    ): "The smaller of two numbers is taken, and without links one stays 0 or no cap is below 1.",
    (
        "crawl/fetch/network/wire.py",
        "return _Framing.CLOSE, 0",
        "0",
        "1",
    ): "What is left counts only for a body of a stated length.",
    (
        "clean/filters/personal.py",
        'if "::" in text or text.count(":") > 6:',
        "text.count(':') > 6",
        "text.count(':') >= 6",
    ): "An address without two colons in a row has seven; fewer are searched for nothing.",
    (
        "clean/rewrite/formulas.py",
        "return inner[: end + len(end_tag)] if end >= 0 else None",
        "end >= 0",
        "end > 0",
    ): "The text begins with an element, so its end is never at the first place.",
    (
        "clean/learned/hidden.py",
        'if depth == 1 and sheet.find(b"-clip", opening, sheet.find(b"}", position)) < 0:',
        "sheet.find(b'-clip', opening, sheet.find(b'}', position)) < 0",
        "sheet.find(b'-clip', opening, sheet.find(b'}', position)) <= 0",
    ): "The search begins at a brace, so nothing is found at the first place.",
    (
        "clean/learned/hidden.py",
        "if position < 0:",
        "position < 0",
        "position <= 0",
    ): "The search begins behind a place, so it never ends at the first one.",
    (
        "crawl/links/rows.py",
        "tail, cut = tail[:MAX_ROW_BYTES], True",
        "True",
        "False",
    ): "What follows of a row of just the limit is cut away a step later.",
    (
        "crawl/links/rows.py",
        "if len(tail) > MAX_ROW_BYTES:",
        "len(tail) > MAX_ROW_BYTES",
        "len(tail) >= MAX_ROW_BYTES",
    ): "A row of just the limit is cut to itself, and what follows of it is cut away either way.",
    (
        "crawl/links/judge.py",
        "step = 16 if first < LAG_SAMPLE else LAG_SAMPLE",
        "first < LAG_SAMPLE",
        "first <= LAG_SAMPLE",
    ): "From row 1,024 on only its multiples are sampled, in steps of 16 too.",
    (
        "corpus/tables/parquet.py",
        "self._pending = [whole.slice(start)] if start < whole.num_rows else []",
        "start < whole.num_rows",
        "start <= whole.num_rows",
    ): "A piece without rows that waits adds none to the next row group.",
    (
        "clean/normalize.py",
        '_BEYOND_LATIN = re.compile(f"[^\\x00-\\u02ff]{{{MAX_MARKS + 1},}}")',
        "MAX_MARKS + 1",
        "MAX_MARKS - 1",
    ): "A text that passes this quick look without need is only looked at closely for nothing.",
    (
        "clean/normalize.py",
        '_BEYOND_LATIN = re.compile(f"[^\\x00-\\u02ff]{{{MAX_MARKS + 1},}}")',
        "1",
        "0",
    ): "Of a run that is just long enough nothing is cut either way.",
    (
        "clean/filters/gopher.py",
        "if bound > limit and (chars := profile.grams.repeated_chars(n)) > limit:",
        "bound > limit",
        "bound >= limit",
    ): "At the bound the exact count follows, which is never more and so not above the limit.",
    (
        "clean/filters/profile.py",
        "while len(self._codes) < n:",
        "len(self._codes) < n",
        "len(self._codes) <= n",
    ): "The codes of n + 1 words are made a turn too early, and kept.",
    (
        "clean/page_source/decode.py",
        'return "utf-16-le" if odd > even else "utf-16-be"',
        "odd > even",
        "odd >= even",
    ): "Of equally many zeros at both places the function has returned before.",
    (
        "clean/normalize.py",
        "end = len(text) if end < 0 else end",
        "end < 0",
        "end <= 0",
    ): "A search that begins behind a character never ends at the first place.",
    (
        "clean/normalize.py",
        'marks = sum(unicodedata.category(c)[0] == "M" for c in others if c > "\\u02ff")',
        "c > '\u02ff'",
        "c >= '\u02ff'",
    ): "U+02FF is not a mark.",
    (
        "crawl/fetch/pace/politeness.py",
        "if path.stat().st_size < size:",
        "path.stat().st_size < size",
        "path.stat().st_size <= size",
    ): "A file that is cut to the size that it has stays as it is.",
    (
        "crawl/fetch/pace/politeness.py",
        "self._due = {group: at for group, at in self._due.items() if at > now}",
        "at > now",
        "at >= now",
    ): "An address that is due now is free, whether it is in the table or not.",
    (
        "clean/filters/profile.py",
        "pairs = shorter[:-1] * max(1, self._num_words) + words[len(self._codes) :]",
        "1",
        "0",
    ): "Without words there are no pairs to number.",
    (
        "clean/normalize.py",
        "if not is_ascii and _DEPENDENT.search(seen):",
        "not is_ascii and _DEPENDENT.search(seen)",
        "not is_ascii or _DEPENDENT.search(seen)",
    ): "The search only spares a text without such signs the substitution, which changes nothing.",
    (
        "clean/normalize.py",
        'end = text.find("\\n", found.end() - 1)',
        "1",
        "0",
    ): "The last character of what was found is never a line feed.",
    (
        "corpus/evaluation_sets/files.py",
        "@lru_cache(maxsize=1024)",
        "1024",
        "1025",
    ): "The size of a cache changes the time alone.",
    (
        "dedup/near_duplicates/minhash.py",
        "factors = generator.randint(0, 1 << 31, num_perm, dtype=np.uint32) * np.uint32(2) + np.uint32(1)",
        "31",
        "32",
    ): "The product with 2 drops the bit that is drawn in addition.",
    (
        "dedup/near_duplicates/shingle_store.py",
        "size = 1 << max(0, int(BITS_PER_SHINGLE * values.size - 1).bit_length() - 6)",
        "BITS_PER_SHINGLE * values.size - 1",
        "BITS_PER_SHINGLE * values.size + 1",
    ): "A multiple of twelve is no power of two, nor is its neighbour.",
    (
        "corpus/evaluation_sets/records.py",
        "if len({len(row) for row in plain}) == 1 and len(plain[0]) > 1:",
        "len(plain[0]) > 1",
        "len(plain[0]) >= 1",
    ): "A delimiter that does not divide the first line has been replaced before.",
    (
        "train/gpt2/sampling.py",
        "if sampling.min_p > 0:",
        "sampling.min_p > 0",
        "sampling.min_p >= 0",
    ): "No probability is below a share of 0.",
    (
        "train/gpt2/sampling.py",
        "if sampling.top_p < 1:",
        "sampling.top_p < 1",
        "sampling.top_p <= 1",
    ): "Behind a sum of 1 no probability is left that a float shows.",
    (
        "shards/tokenizer_sample.py",
        "if fraction >= bound:",
        "fraction >= bound",
        "fraction > bound",
    ): "No two documents have one hash.",
    (
        "shards/tokenizer_sample.py",
        "while size - len(chosen[0][2]) >= sample_bytes:",
        "size - len(chosen[0][2]) >= sample_bytes",
        "size - len(chosen[0][2]) > sample_bytes",
    ): "The last document, of which nothing is needed, is cut to nothing instead of left out.",
    (
        "dedup/config.py",
        "if isinstance(threshold, int | float) and 0 < threshold <= 1 and isinstance(given, dict):",
        "0 < threshold <= 1",
        "0 <= threshold <= 1",
    ): "A threshold of 0 is refused in the end.",
    (
        "dedup/folding.py",
        "if code >= EXPANSION:",
        "code >= EXPANSION",
        "code > EXPANSION",
    ): "An expansion has a length, which is part of its code.",
    (
        "train/gpt2/model.py",
        "if mask is None and length > 1 and cache.length:",
        "length > 1",
        "length >= 1",
    ): "The mask of one query hides nothing.",
    (
        "train/gpt2/loss.py",
        'CHUNK_ROWS = {"cpu": 512, "cuda": 2048}',
        "512",
        "513",
    ): "Rows that are multiplied at once change memory and time alone.",
    (
        "train/scores/logprobs.py",
        "if fits and len(context) > 1 and saved >= REUSE_TOKENS[world.device.type]:",
        "len(context) > 1",
        "len(context) >= 1",
    ): "A context of one token saves none.",
    (
        "train/scores/logprobs.py",
        "fits = len(context) + longest - 1 <= model.shape.block_size",
        "len(context) + longest - 1 <= model.shape.block_size",
        "len(context) + longest - 1 < model.shape.block_size",
    ): "Requests that share a context and those read alone have the same scores.",
    (
        "train/scores/logprobs.py",
        'REUSE_TOKENS = {"cpu": 32, "cuda": 2_048}',
        "32",
        "33",
    ): "Requests that share a context and those read alone have the same scores.",
    (
        "train/scores/paper.py",
        'return "" if value is None else f"{value:.4g}" if value < 10_000 else f"{value:.3g}"',
        "value < 10000",
        "value <= 10000",
    ): "Ten thousand is 1e+04 in both forms.",
    (
        "dedup/near_duplicates/shingle_store.py",
        "BITS_PER_SHINGLE = 12",
        "12",
        "13",
    ): "The size of a bitmap changes the time alone: pairs that it lets through are merged.",
    (
        "corpus/evaluation_sets/files.py",
        "while piece := stream.read(min(1 << 20, MAX_UNPACKED_BYTES + 1 - len(data))):",
        "min(1 << 20, MAX_UNPACKED_BYTES + 1 - len(data))",
        "max(1 << 20, MAX_UNPACKED_BYTES + 1 - len(data))",
    ): "Reading more at once takes memory alone: a file beyond the limit is refused either way.",
    (
        "corpus/urls.py",
        "HOST_CACHE_SIZE = 1 << 16",
        "1 << 16",
        "1 >> 16",
    ): "The size of a cache changes the time alone.",
    (
        "corpus/zstd.py",
        "_SKIP_BYTES = 1 << 20",
        "20",
        "21",
    ): "Bytes read at once of a frame that is skipped.",
    (
        "dedup/near_duplicates/minhash.py",
        "slots = np.zeros(1 << max(2, int(2 * longest - 1).bit_length()), np.uint64)",
        "2",
        "3",
    ): "A larger table of hashes takes memory alone.",
    (
        "dedup/passage_spans.py",
        "if runs.size < GAP or words.values.size < RUN_WORDS:",
        "words.values.size < RUN_WORDS",
        "words.values.size <= RUN_WORDS",
    ): "So few words have fewer runs than a window.",
    (
        "dedup/sentences.py",
        "before = END.search(text, max(0, at - 1), min(len(text), at + 1))",
        "min(len(text), at + 1)",
        "max(len(text), at + 1)",
    ): "An end at the place begins one character before it, however far is searched.",
    (
        "dedup/words.py",
        "if word and (code == folding.BREAK or code >= folding.ALONE):",
        "code >= folding.ALONE",
        "code > folding.ALONE",
    ): "U+0000 is no word of its own.",
    (
        "dedup/words.py",
        "if code >= folding.ALONE:",
        "code >= folding.ALONE",
        "code > folding.ALONE",
    ): "U+0000 is no word of its own.",
    (
        "dedup/words.py",
        "alone = codes >= folding.ALONE",
        "codes >= folding.ALONE",
        "codes > folding.ALONE",
    ): "U+0000 is no word of its own.",
    (
        "dedup/words.py",
        "several = codes >= folding.EXPANSION",
        "codes >= folding.EXPANSION",
        "codes > folding.EXPANSION",
    ): "An expansion has two characters or more, and their number is in its code.",
    (
        "shards/tokenizer/encode.py",
        "RENEW_BYTES = 512 << 20",
        "512 << 20",
        "512 >> 20",
    ): "A new encoder gives the same ids and bounds memory.",
    (
        "shards/tokenizer/encode.py",
        "if self._bytes_left < 0:",
        "self._bytes_left < 0",
        "self._bytes_left <= 0",
    ): "A new encoder gives the same ids and bounds memory.",
    (
        "shards/tokenizer/split_rules.py",
        '{"type": "Split", "pattern": {"Regex": each}, "behavior": "Isolated", "invert": False}',
        "False",
        "True",
    ): "Matches and what is between them are words of their own either way.",
    (
        "train/sweep.py",
        "NEVER = 1 << 40",
        "40",
        "41",
    ): "Both are more steps than a run has.",
    (
        "dedup/contamination/near_match.py",
        "grams = ngram_hashes(questions, max(1, int(sizes.max(initial=1)))).values",
        "1",
        "0",
    ): "The other one of both keeps the size at 1 and above.",
    (
        "dedup/sentences.py",
        "for end in END.finditer(text, at, min(len(text), at + NEAR_CHARS + 1)):",
        "min(len(text), at + NEAR_CHARS + 1)",
        "max(len(text), at + NEAR_CHARS + 1)",
    ): "Ends farther off are searched for nothing: they are compared with the limit.",
    (
        "train/scores/logprobs.py",
        "[row + (0,) * (width - len(row)) for row in rows], device=world.device",
        "0",
        "1",
    ): "Padding comes behind the tokens that are scored, and none of these sees it.",
    (
        "shards/stream/by_weight.py",
        "if begin < end:",
        "begin < end",
        "begin <= end",
    ): "An empty piece has neither tokens nor documents.",
}


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """All faults of a module, in the order of its syntax tree."""
    tree = ast.parse(source)
    limits, left_out = _limits(tree), _without_behaviour(tree)
    places = [(node, changed) for node in ast.walk(tree) if (changed := _changed(node)) is not None]
    for number, (node, changed) in enumerate(places):
        assert isinstance(node, ast.expr)
        at = (node.lineno, node.col_offset)
        if at in left_out:
            continue
        kind = "limits" if at in limits else "borders" if _is_border(node) else "others"
        before, after = ast.unparse(node), ast.unparse(_set(node, changed))
        yield Mutant(module, source, number, node.lineno, before, after, kind)


def _set(node: ast.expr, changed: ast.expr) -> ast.expr:
    """A copy of the node with the fields of `changed`, which may be of another class."""
    copied = copy.copy(node)
    for field, value in ast.iter_fields(changed):
        setattr(copied, field, value)
    return copied


def _is_border(node: ast.AST) -> bool:
    ordering = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], ordering)


def _limits(tree: ast.Module) -> set[tuple[int, int]]:
    """Places of numbers in constants of the module, in defaults of its classes, and operators between them."""
    found = set()
    bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    for statement in itertools.chain.from_iterable(bodies):
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            for node in ast.walk(statement.value):
                if isinstance(node, (ast.Constant, ast.BinOp)):
                    found.add((node.lineno, node.col_offset))

    return found


def _without_behaviour(tree: ast.Module) -> set[tuple[int, int]]:
    """Places of expressions whose faults change nothing in a program without other faults.

    Switches by which `zip` and dataclasses refuse what never happens, and functions that only
    compile loops ahead of their use.
    """
    nodes: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in SWITCHES:
            nodes.append(node.value)
        elif isinstance(node, ast.FunctionDef):
            names = {each.id for each in node.decorator_list if isinstance(each, ast.Name)}
            nodes += ast.walk(node) if "example" in names else ()

    return {(node.lineno, node.col_offset) for node in nodes if isinstance(node, ast.expr)}


def _changed(node: ast.AST) -> ast.expr | None:
    """The expression with a fault, or None if it is of no kind that gets one."""
    changed = copy.copy(node)
    if isinstance(changed, ast.Compare) and type(changed.ops[0]) in COMPARISONS:
        changed.ops = [COMPARISONS[type(changed.ops[0])](), *changed.ops[1:]]
    elif isinstance(changed, ast.BinOp) and type(changed.op) in OPERATORS:
        changed.op = OPERATORS[type(changed.op)]()
    elif isinstance(changed, ast.BoolOp):
        changed.op = ast.And() if isinstance(changed.op, ast.Or) else ast.Or()
    elif isinstance(changed, ast.Constant) and type(changed.value) in (int, float, bool):
        if changed.value in (True, False):
            changed.value = type(changed.value)(not changed.value)
        else:
            changed.value += 1
    elif isinstance(changed, ast.Call) and isinstance(changed.func, ast.Name):
        other = {"min": "max", "max": "min", "any": "all", "all": "any"}.get(changed.func.id)
        if other is None:
            return None
        changed.func = ast.Name(other, ast.Load(), lineno=changed.lineno, col_offset=0)
    else:
        return None

    return changed


class Checkout:
    """A copy of the project, and the process of `mutant_server` that runs its tests."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._num_runs = 0
        ignored = shutil.ignore_patterns(*COPIED)
        shutil.copytree(ROOT, root, ignore=ignored, symlinks=True)
        # The checkout comes first on the path, before the one that this program runs from.
        environment = {"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"}
        self._server = subprocess.Popen(
            [sys.executable, "-P", str(SERVER), str(root)],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process."""
        self._server.communicate()

    def notices(self, mutant: Mutant) -> bool:
        """Run the module's tests with the fault. Afterwards the checkout is as before."""
        path = self._root / mutant.module
        before = path.read_text("utf-8")
        self._write(path, mutant.source)
        try:
            # Those for all modules load much, and few faults need them.
            return any(
                self.run_tests(tests, CPU_S, mutant.module) is not None
                for tests in (TESTS[mutant.module], HELD_FOR_ALL)
            )
        finally:
            self._write(path, before)

    def run_tests(self, tests: Sequence[str], cpu_s: int, changed: str | None = None) -> str | None:
        """Run tests. Returns None if all pass, and the end of the output otherwise.

        If no module is changed, all that these tests load stays loaded for later runs.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(
            json.dumps([cpu_s, MEMORY_BYTES, changed, *tests]), file=self._server.stdin, flush=True
        )
        code, output = json.loads(self._server.stdout.readline())
        return None if code == 0 else f"status {code}\n{output}"

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, "utf-8")
        # Bytecode is told apart by size and second, and two faults may share both.
        self._num_runs += 1
        os.utime(path, (self._num_runs, self._num_runs))


def sample(
    modules: Sequence[str], seed: int, number: int, kinds: Sequence[str] = KINDS
) -> list[Mutant]:
    """`number` faults of each module, one of each in turn, so that any beginning is a fair sample."""
    rng = random.Random(seed)
    drawn = []
    for module in modules:
        every = mutants_of(module, (ROOT / module).read_text("utf-8"))
        found = [each for each in every if each.kind in kinds and not each.equivalent]
        drawn.append(rng.sample(found, min(number, len(found))))

    return [each for turn in itertools.zip_longest(*drawn) for each in turn if each is not None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "tools.mutants", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--modules", nargs="+", default=[], help="modules to change; default: all of the table"
    )
    parser.add_argument(
        "--kinds", nargs="+", default=KINDS, choices=KINDS, help="kinds of faults; default: all"
    )
    parser.add_argument("--seed", type=int, default=1, help="choice of the faults (default: 1)")
    parser.add_argument("--number", type=int, default=5, help="faults a module (default: 5)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=10.0,
        help="begin no test run after this long (default: 10)",
    )
    parser.add_argument("--jobs", type=int, default=2, help="test runs at a time (default: 2)")
    args = parser.parse_args(argv)
    if unknown := set(args.modules) - TESTS.keys():
        parser.error(f"{sorted(unknown)[0]}: not in the table; known: {', '.join(TESTS)}")

    modules = args.modules or list(TESTS)
    chosen = sample(modules, args.seed, args.number, args.kinds)

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as opened,
        ThreadPoolExecutor(args.jobs) as pool,
    ):
        checkouts = [
            opened.enter_context(contextlib.closing(Checkout(Path(folder) / str(number))))
            for number in range(args.jobs)
        ]

        # Tests that fail without a fault would notice every fault.
        tests = sorted({each for module in modules for each in TESTS[module]} | {*HELD_FOR_ALL})
        if (output := checkouts[0].run_tests(tests, 10 * CPU_S)) is not None:
            print(f"the tests fail without a fault:\n{output}", file=sys.stderr)
            return 1

        end = time.monotonic() + 60 * args.minutes

        def share(number: int) -> list[tuple[str, bool]]:
            found = []
            for mutant in chosen[number :: args.jobs]:
                if time.monotonic() >= end:
                    break
                noticed = checkouts[number].notices(mutant)
                found.append((mutant.kind, noticed))
                if not noticed:
                    place = f"{mutant.kind}: {mutant.module}:{mutant.line}"
                    print(f"not noticed: {place}: {mutant.before}  ->  {mutant.after}", flush=True)
            return found

        results = [each for part in pool.map(share, range(args.jobs)) for each in part]

    kinds = sorted({kind for kind, _ in results})
    print(f"seed {args.seed}: {_score([noticed for _, noticed in results])} faults noticed")
    for kind in kinds:
        print(f"  {kind}: {_score([noticed for each, noticed in results if each == kind])}")
    print(
        f"{len(chosen) - len(results)} of the sample were left for lack of time; "
        f"{len(EQUIVALENT)} equivalent faults are never drawn"
    )

    return 0


def _score(noticed: Sequence[bool]) -> str:
    return f"{sum(noticed)} of {len(noticed)} ({sum(noticed) / max(1, len(noticed)):.0%})"


if __name__ == "__main__":
    raise SystemExit(main())
