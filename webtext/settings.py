"""Settings of the stages: their models, and checks before any work of a chain of stages."""

from __future__ import annotations

import os
from collections.abc import Sequence

from corpus.config import Section, load_config
from corpus.run import command
from corpus.run.settings import RunConfig
from corpus.storage.store import Store
from webtext.stages import needing


def settings_model(stage: str) -> type[Section]:
    """The settings of a stage, imported when they are checked."""
    model: type[Section]
    with needing(stage):
        if stage == "crawl":
            from crawl.config import CrawlConfig

            model = CrawlConfig
        elif stage == "clean":
            from clean.config import CleanConfig

            model = CleanConfig
        elif stage == "dedup":
            from dedup.config import DedupConfig

            model = DedupConfig
        elif stage == "shards":
            from shards.config import ShardsConfig

            model = ShardsConfig
        elif stage == "train":
            from train.config import TrainConfig

            model = TrainConfig
        elif stage == "run":
            model = RunConfig
        else:
            from webtext.upkeep.refresh_config import RefreshConfig

            model = RefreshConfig
    return model


def sets_of(stage: str, sets: Sequence[str]) -> list[str]:
    """Words of a command line that pass on the --set of one stage, and those of [run]."""
    return [
        word
        for setting in sets
        if setting.partition(".")[0].strip() in (stage, "run")
        for word in ("--set", setting)
    ]


def check_settings(
    store: Store, stages: Sequence[str], batch: str, *, toml_path: str | None, sets: Sequence[str]
) -> None:
    """Check the settings of all stages to run, before the first of them does any work.

    Raises: ConfigError for an unknown setting or value, or one ruled out by earlier batches.
    """
    toml = command.corpus_settings(store.root)
    for stage in stages:
        config = load_config(
            settings_model(stage),
            stage,
            corpus_toml=toml,
            toml_path=toml_path,
            sets=sets,
            environ=os.environ,
        )
        if stage == "shards":
            from shards.config import ShardsConfig
            from shards.run import check_settings as check_shards

            assert isinstance(config, ShardsConfig)
            check_shards(store, batch, config)
