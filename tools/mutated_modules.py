"""The modules that `tools.mutants` puts faults into, and the tests that hold each of them."""

from __future__ import annotations

_RUNNER = tuple(
    f"tests/corpus/run/test_runner.py::{name}"
    for name in (
        "test_counts_add_up_and_scratch_is_gone",
        "test_a_reduce_knows_how_many_rows_come",
        "test_a_damaged_receipt_counts_for_nothing",
        "test_second_run_does_nothing",
        "test_what_a_kill_behind_the_last_commit_left_goes_with_the_next_run",
        "test_settings_outside_the_fingerprint_change_nothing",
        "test_always_crashing_part_is_quarantined_and_the_rest_is_kept",
        "test_step_that_loses_a_row_fails_the_run",
        "test_other_config_is_refused_with_the_difference_and_rebuilt_on_demand",
        "test_missing_part_is_an_error_and_an_empty_batch_is_not",
        "test_rebuild_makes_damaged_parts_again_and_nothing_else",
        "test_missing_input_names_the_door",
        "test_json_is_the_last_line",
    )
)
"""Tests of the runner that neither start a cluster nor wait."""

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
    **dict.fromkeys(
        (
            "clean/learned/asides.py",
            "clean/learned/blocks.py",
            "clean/learned/context.py",
            "clean/learned/copies.py",
            "clean/learned/inline.py",
            "clean/learned/markup.py",
            "clean/learned/nesting.py",
            "clean/learned/posts.py",
            "clean/learned/tables.py",
            "clean/learned/tokens.py",
            "clean/learned/words.py",
            "clean/learned/features/branches.py",
            "clean/learned/features/headings.py",
            "clean/learned/features/neighbours.py",
            "clean/learned/features/outline.py",
            "clean/learned/features/own.py",
            "clean/learned/features/page.py",
            "clean/learned/features/repeats.py",
            "clean/learned/features/shares.py",
            "clean/learned/features/stated.py",
        ),
        (
            "tests/clean/learned/test_stored_values.py",
            "tests/clean/learned/test_row_borders.py",
            "tests/clean/learned/test_learned_blocks.py",
            "tests/clean/learned/test_features.py",
            "tests/clean/learned/test_containers.py",
            "tests/clean/learned/test_asides.py",
            "tests/clean/learned/test_posts.py",
            "tests/clean/test_markdown.py",
            "tests/clean/learned/test_learned_extraction.py",
        ),
    ),
    **dict.fromkeys(
        (
            "clean/rewrite/inline.py",
            "clean/rewrite/signs.py",
        ),
        (
            "tests/clean/rewrite/test_signs.py",
            "tests/clean/rewrite/test_sentences.py",
            "tests/clean/rewrite/test_formulas.py",
            "tests/clean/rewrite/test_code_markup.py",
        ),
    ),
    **dict.fromkeys(
        (
            "clean/soft_failures/evidence.py",
            "clean/soft_failures/features.py",
            "clean/soft_failures/judge.py",
            "clean/soft_failures/sheet.py",
            "clean/soft_failures/words.py",
        ),
        (
            "tests/clean/soft_failures/test_sheet.py",
            "tests/clean/soft_failures/test_words.py",
            "tests/clean/soft_failures/test_soft_failures.py",
            "tests/clean/soft_failures/test_rule_borders.py",
        ),
    ),
    "clean/sandbox.py": ("tests/clean/test_sandbox.py",),
    "corpus/config.py": (
        "tests/corpus/test_small_parts.py",
        "tests/corpus/test_config.py",
    ),
    "corpus/credentials.py": ("tests/corpus/storage/test_credentials.py",),
    "corpus/durations.py": ("tests/corpus/test_durations.py",),
    "corpus/evaluation_sets/childrens_book.py": (
        "tests/corpus/test_small_parts.py",
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
        "tests/corpus/test_small_parts.py",
        "tests/corpus/run/test_funnel.py",
        "tests/corpus/run/test_screen.py",
    ),
    "corpus/run/metrics.py": ("tests/corpus/run/test_metrics.py",),
    "corpus/run/progress.py": (
        "tests/corpus/run/test_command.py",
        "tests/corpus/run/test_progress.py",
    ),
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
        "tests/corpus/test_small_parts.py",
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
    "corpus/tables/conservation.py": (
        "tests/corpus/test_small_parts.py",
        "tests/corpus/test_laws.py",
    ),
    "corpus/tables/manifest.py": (
        "tests/corpus/test_small_parts.py",
        "tests/corpus/tables/test_tables.py",
    ),
    "corpus/tables/mentions.py": (
        "tests/corpus/test_small_parts.py",
        "tests/corpus/test_mentions.py",
    ),
    "corpus/tables/parquet.py": (
        "tests/corpus/test_small_parts.py",
        "tests/corpus/tables/test_parquet_limits.py",
        "tests/corpus/tables/test_tables.py",
    ),
    "corpus/urls.py": (
        "tests/corpus/test_small_parts.py",
        "tests/corpus/test_urls.py",
    ),
    "corpus/zstd.py": (
        "tests/corpus/test_small_parts.py",
        "tests/corpus/test_zstd.py",
    ),
    "crawl/fetch/pace/politeness.py": (
        "tests/crawl/test_borders.py",
        "tests/crawl/fetch/pace/test_politeness.py",
        "tests/crawl/fetch/test_dispatch.py",
    ),
    "crawl/fetch/permission/robots.py": (
        "tests/crawl/test_borders.py",
        "tests/crawl/fetch/permission/test_robots.py",
        "tests/crawl/fetch/test_answers.py",
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
        "tests/dedup/test_small_parts.py",
        "tests/dedup/test_borders.py",
        "tests/dedup/contamination/test_overlap.py",
    ),
    "dedup/contamination/test_index.py": (
        "tests/dedup/test_small_parts.py",
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
        "tests/dedup/test_small_parts.py",
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
    "dedup/near_duplicates/shingle_store.py": (
        "tests/dedup/test_small_parts.py",
        "tests/dedup/test_survivors.py",
    ),
    "dedup/near_duplicates/signature_steps.py": (
        "tests/dedup/near_duplicates/test_steps.py",
        "tests/dedup/near_duplicates/test_components.py",
    ),
    "dedup/near_duplicates/survivor_steps.py": (
        "tests/dedup/test_small_parts.py",
        "tests/dedup/near_duplicates/test_components.py",
    ),
    "dedup/near_duplicates/survivors_config.py": ("tests/dedup/test_settings.py",),
    "dedup/passage_spans.py": (
        "tests/dedup/test_small_parts.py",
        "tests/dedup/test_goldens.py",
        "tests/dedup/test_passages.py",
    ),
    "dedup/passages_config.py": ("tests/dedup/test_settings.py",),
    "dedup/sentences.py": ("tests/dedup/test_sentences.py",),
    "dedup/words.py": (
        "tests/dedup/test_small_parts.py",
        "tests/dedup/test_goldens.py",
        "tests/dedup/near_duplicates/test_containment.py",
        "tests/dedup/test_words.py",
        "tests/dedup/test_folding.py",
    ),
    "corpus/storage/conditional_write.py": (
        "tests/corpus/storage/test_lock.py",
        "tests/corpus/storage/test_lying_stores.py",
        "tests/corpus/storage/test_credentials.py",
        "tests/corpus/run/test_faults.py",
    ),
    "corpus/storage/lease.py": (
        "tests/corpus/storage/test_lock.py",
        "tests/corpus/test_borders.py",
    ),
    "corpus/storage/self_test.py": ("tests/corpus/storage/test_self_test.py",),
    "corpus/storage/objects.py": (
        "tests/corpus/storage/test_lying_stores.py",
        "tests/corpus/storage/test_storage.py",
    ),
    "corpus/run/attempts.py": (
        "tests/corpus/run/test_command.py",
        "tests/corpus/run/test_stragglers.py",
    ),
    "corpus/run/command.py": (
        "tests/corpus/run/test_command.py",
        "tests/corpus/storage/test_opening.py",
        "tests/corpus/test_interrupts.py",
        "tests/corpus/storage/test_lock.py",
        *_RUNNER,
    ),
    "corpus/run/arguments.py": (
        "tests/corpus/run/test_command.py",
        "tests/corpus/storage/test_opening.py",
        *_RUNNER,
    ),
    "corpus/run/runner.py": (
        "tests/corpus/run/test_command.py",
        *_RUNNER,
    ),
    "corpus/run/task.py": (
        "tests/corpus/run/test_command.py",
        *_RUNNER,
    ),
    "corpus/run/plan.py": (
        "tests/corpus/run/test_command.py",
        "tests/corpus/tables/test_staleness.py",
        *_RUNNER,
        "tests/corpus/test_borders.py",
    ),
    "corpus/run/executors/pool.py": ("tests/corpus/run/test_executor.py",),
    "corpus/run/executors/opening.py": (
        "tests/corpus/run/test_command.py",
        "tests/corpus/storage/test_opening.py",
    ),
    "corpus/tables/staleness.py": ("tests/corpus/tables/test_staleness.py",),
    "corpus/evaluation_sets/detokenize.py": ("tests/train/test_evaluate.py",),
    "dedup/against/sources.py": ("tests/dedup/test_against.py",),
    "dedup/against/documents.py": ("tests/dedup/test_against.py",),
    "dedup/contamination/near_score.py": (
        "tests/dedup/contamination/test_near_match.py",
        "tests/dedup/contamination/test_borders.py",
    ),
    "dedup/contamination/overlap_steps.py": ("tests/dedup/contamination/test_overlap.py",),
    "dedup/report.py": (
        "tests/dedup/test_small_parts.py",
        "tests/dedup/test_look.py",
    ),
    "dedup/passage_steps.py": ("tests/dedup/test_passages.py",),
    "dedup/verdict_steps.py": (
        "tests/dedup/test_passages.py",
        "tests/dedup/test_against.py",
        "tests/dedup/test_run.py",
    ),
    "dedup/review.py": (
        "tests/dedup/test_look.py",
        "tests/dedup/test_against.py",
    ),
    "dedup/kernels.py": (
        "tests/dedup/test_goldens.py",
        "tests/dedup/test_borders.py",
        "tests/dedup/near_duplicates/test_minhash.py",
        "tests/dedup/contamination/test_near_match.py",
        "tests/dedup/test_survivors.py",
    ),
    "shards/export.py": ("tests/shards/test_export.py",),
    "shards/export_formats.py": ("tests/shards/test_export.py",),
    "shards/pin_tokenizer.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_tokenizer.py",
    ),
    "shards/split.py": ("tests/shards/test_goldens.py",),
    "shards/stream/best_fit.py": ("tests/shards/test_packing.py",),
    "shards/stream/blocks.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_reader.py",
    ),
    "shards/stream/by_weight.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_by_weight.py",
    ),
    "shards/stream/cache.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_cache.py",
    ),
    "shards/stream/epochs.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_order.py",
    ),
    "shards/stream/file_layout.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_cache.py",
        "tests/shards/test_goldens.py",
    ),
    "shards/stream/local_files.py": ("tests/shards/test_reader.py",),
    "shards/stream/mixture.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_mixture.py",
    ),
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
        "tests/shards/test_packing.py",
        "tests/shards/test_borders.py",
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
        "tests/shards/test_borders.py",
        "tests/shards/test_reader.py",
        "tests/shards/test_states.py",
    ),
    "shards/tokenizer/byte_spelling.py": ("tests/shards/test_tokenizer_forms.py",),
    "shards/tokenizer/document_check.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_tokenizer_forms.py",
        "tests/shards/test_vocabulary.py",
    ),
    "shards/tokenizer/encode.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_tokenizer.py",
    ),
    "shards/tokenizer/split_rules.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_split_rules.py",
    ),
    "shards/tokenizer/unsettled.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_tokenizer.py",
    ),
    "shards/tokenizer/vocabulary.py": (
        "tests/shards/test_vocabulary.py",
        "tests/shards/test_tokenizer_forms.py",
    ),
    "shards/tokenizer/vocabulary_files.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_vocabulary.py",
    ),
    "shards/tokenizer_sample.py": ("tests/shards/test_borders.py",),
    "shards/write_step.py": (
        "tests/shards/test_borders.py",
        "tests/shards/test_goldens.py",
    ),
    "train/checkpoints/checkpoint.py": ("tests/train/checkpoints/test_checkpoint.py",),
    "train/data.py": (
        "tests/train/test_data.py",
        "tests/train/test_loop.py",
    ),
    "train/generate.py": (
        "tests/train/gpt2/test_generate.py",
        "tests/train/test_run.py",
    ),
    "train/job.py": (
        "tests/train/machine/test_job_parts.py",
        "tests/train/test_run.py",
        "tests/train/test_parent.py",
    ),
    "train/loop.py": (
        "tests/train/machine/test_job_parts.py",
        "tests/train/test_loop.py",
        "tests/train/test_goldens.py",
    ),
    "train/machine/distributed.py": (
        "tests/train/machine/test_job_parts.py",
        "tests/train/machine/test_distributed.py",
    ),
    "train/machine/peaks.py": (
        "tests/train/machine/test_job_parts.py",
        "tests/train/scores/test_published.py",
        "tests/train/machine/test_distributed.py",
        "tests/train/monitoring/test_watches.py",
    ),
    "train/scores/core_tasks.py": (
        "tests/train/scores/test_published.py",
        "tests/train/test_few_shot.py",
        "tests/train/test_written_answers.py",
    ),
    "train/checkpoints/record.py": (
        "tests/train/gpt2/test_sizes.py",
        "tests/train/checkpoints/test_checkpoint.py",
    ),
    "train/checkpoints/tensor_files.py": ("tests/train/checkpoints/test_checkpoint.py",),
    "train/config.py": (
        "tests/train/scores/test_published.py",
        "tests/train/test_config.py",
    ),
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
    "train/gpt2/sampling.py": (
        "tests/train/scores/test_published.py",
        "tests/train/gpt2/test_sampling.py",
    ),
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
        "tests/train/scores/test_published.py",
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_scores.py",
    ),
    "train/scores/tasks/few_shot.py": (
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_few_shot.py",
    ),
    "train/scores/tasks/generation.py": (
        "tests/train/scores/test_published.py",
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_evaluate.py",
    ),
    "train/scores/tasks/language.py": (
        "tests/train/scores/test_published.py",
        "tests/train/scores/test_small_parts.py",
        "tests/train/test_evaluate.py",
    ),
    "train/scores/tasks/task.py": (
        "tests/train/scores/test_published.py",
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
    "crawl/fetch/settings.py": (
        "tests/crawl/fetch/test_answers.py",
        "tests/crawl/test_borders.py",
        "tests/crawl/fetch/test_dispatch.py",
        "tests/crawl/fetch/network/test_proxy.py",
    ),
    "crawl/fetch/dispatcher.py": (
        "tests/crawl/fetch/test_dispatch.py",
        "tests/crawl/fetch/test_idle_time.py",
        "tests/crawl/fetch/test_progress.py",
        "tests/crawl/fetch/test_probe.py",
    ),
    "crawl/fetch/worker.py": (
        "tests/crawl/fetch/test_worker.py",
        "tests/crawl/fetch/test_stop_request.py",
        "tests/crawl/fetch/test_fleet.py",
    ),
    "crawl/fetch/fleet/tending.py": (
        "tests/crawl/fetch/test_idle_time.py",
        "tests/crawl/fetch/test_worker.py",
        "tests/crawl/fetch/test_any_workers.py",
        "tests/crawl/fetch/test_fleet.py",
    ),
    "crawl/fetch/fleet/roster.py": (
        "tests/crawl/fetch/test_fleet.py",
        "tests/crawl/fetch/test_any_workers.py",
    ),
    "crawl/fetch/fleet/membership.py": (
        "tests/crawl/fetch/test_fleet.py",
        "tests/crawl/fetch/test_any_workers.py",
    ),
    "crawl/fetch/steps.py": (
        "tests/crawl/fetch/test_hand_over.py",
        "tests/crawl/fetch/test_stop_request.py",
    ),
    "crawl/fetch/progress.py": (
        "tests/crawl/fetch/test_walls.py",
        "tests/crawl/fetch/test_live.py",
        "tests/crawl/captures/test_archive_step.py",
    ),
    "crawl/fetch/answers.py": (
        "tests/crawl/fetch/test_answers.py",
        "tests/crawl/fetch/test_worker.py",
        "tests/crawl/fetch/test_dispatch.py",
        "tests/crawl/fetch/test_meta_elements.py",
    ),
    "crawl/fetch/jobs.py": (
        "tests/crawl/fetch/test_answers.py",
        "tests/crawl/fetch/test_dispatch.py",
        "tests/crawl/fetch/test_worker.py",
    ),
    "crawl/fetch/network/download.py": (
        "tests/crawl/fetch/network/test_limits.py",
        "tests/crawl/fetch/network/test_unreadable.py",
        "tests/crawl/fetch/network/test_proxy.py",
    ),
    "crawl/links/containers.py": (
        "tests/crawl/links/test_dumps.py",
        "tests/crawl/links/test_windows.py",
    ),
    "crawl/captures/client.py": (
        "tests/crawl/captures/test_captures.py",
        "tests/crawl/captures/test_archive_step.py",
    ),
    "crawl/warc/archives.py": (
        "tests/crawl/warc/test_warc_archives.py",
        "tests/crawl/warc/test_members.py",
    ),
    "crawl/warc/import_step.py": ("tests/crawl/warc/test_warc_import.py",),
    "crawl/warc/verify.py": (
        "tests/crawl/warc/test_members.py",
        "tests/crawl/warc/test_warc.py",
    ),
    "crawl/warc/erase.py": (
        "tests/crawl/warc/test_members.py",
        "tests/webtext/takedown/test_forget.py",
    ),
    "crawl/rights/rsl.py": (
        "tests/crawl/rights/test_conformance.py",
        "tests/crawl/rights/test_crawl_rights.py",
    ),
    "crawl/rights/page.py": (
        "tests/crawl/rights/test_conformance.py",
        "tests/crawl/rights/test_crawl_rights.py",
    ),
    "webtext/proof/check_proof.py": ("tests/webtext/test_proof.py",),
    "webtext/upkeep/drop_batch.py": ("tests/webtext/test_corpus_settings.py",),
    "webtext/upkeep/hooks.py": ("tests/webtext/upkeep/test_refresh.py",),
    "webtext/upkeep/prune.py": (
        "tests/webtext/upkeep/test_generations.py",
        "tests/webtext/upkeep/test_rebuild.py",
    ),
    "webtext/upkeep/rebuild.py": ("tests/webtext/upkeep/test_rebuild.py",),
    "webtext/upkeep/refresh.py": (
        "tests/webtext/upkeep/test_refresh.py",
        "tests/webtext/upkeep/test_growth.py",
    ),
    "webtext/upkeep/refresh_config.py": ("tests/webtext/upkeep/test_refresh.py",),
    "webtext/takedown/batch.py": (
        "tests/webtext/takedown/test_forget.py",
        "tests/webtext/takedown/test_forget_content.py",
        "tests/webtext/takedown/test_search_of_files.py",
    ),
    "webtext/takedown/command.py": (
        "tests/webtext/takedown/test_forget.py",
        "tests/webtext/takedown/test_forget_content.py",
        "tests/webtext/takedown/test_search_of_files.py",
    ),
    "webtext/takedown/copies.py": (
        "tests/webtext/takedown/test_forget.py",
        "tests/webtext/takedown/test_forget_content.py",
        "tests/webtext/takedown/test_search_of_files.py",
    ),
    "webtext/takedown/exported_tokens.py": (
        "tests/webtext/takedown/test_forget.py",
        "tests/webtext/takedown/test_forget_content.py",
        "tests/webtext/takedown/test_search_of_files.py",
    ),
    "webtext/takedown/find.py": (
        "tests/webtext/takedown/test_forget.py",
        "tests/webtext/takedown/test_forget_content.py",
        "tests/webtext/takedown/test_search_of_files.py",
    ),
    "webtext/takedown/leftovers.py": (
        "tests/webtext/takedown/test_forget.py",
        "tests/webtext/takedown/test_forget_content.py",
        "tests/webtext/takedown/test_search_of_files.py",
    ),
    "webtext/takedown/proof.py": (
        "tests/webtext/takedown/test_forget.py",
        "tests/webtext/takedown/test_forget_content.py",
        "tests/webtext/takedown/test_search_of_files.py",
    ),
    "webtext/takedown/rows.py": (
        "tests/webtext/takedown/test_forget.py",
        "tests/webtext/takedown/test_forget_content.py",
        "tests/webtext/takedown/test_search_of_files.py",
    ),
    "webtext/takedown/snapshots.py": (
        "tests/webtext/takedown/test_forget.py",
        "tests/webtext/takedown/test_forget_content.py",
        "tests/webtext/takedown/test_search_of_files.py",
    ),
    "webtext/verify/checks.py": ("tests/webtext/test_verify.py",),
    "webtext/verify/command.py": ("tests/webtext/test_verify.py",),
    "webtext/verify/lost_pages.py": ("tests/webtext/test_verify.py",),
    "webtext/publish/card.py": ("tests/webtext/test_publish.py",),
    "webtext/inspection/query.py": ("tests/webtext/inspection/test_query.py",),
    "webtext/look/text_marks.py": ("tests/webtext/look/test_look_answers.py",),
    "webtext/proof/merkle.py": ("tests/webtext/test_proof.py",),
    "webtext/proof/minisign.py": ("tests/webtext/test_proof.py",),
}
"""Modules without a clock or a network, and the tests that hold each of them."""

HELD_FOR_ALL = (
    "tests/test_paper_defaults.py",
    "tests/test_safety_limits.py",
)
"""Tests that hold constants of any module: they run where those of the module notice nothing."""
