"""Settings of the stage, composed of the settings beside the code they configure."""

from __future__ import annotations

from corpus.config import Section
from shards.pin_tokenizer import TokenizerConfig
from shards.write_step import WriterConfig


class ShardsConfig(Section):
    """All of `[shards]`."""

    common = frozenset(
        {
            "tokenizer.source",
            "writer.val_frac",
        }
    )

    tokenizer: TokenizerConfig = TokenizerConfig()
    """Where the tokenizer comes from."""
    writer: WriterConfig = WriterConfig()
    """How token files are laid out."""
