"""The corpus' tokenizer: trained once on a sample of its first batch, or taken from a file, then pinned.

Training counts words of GPT-2's split rule and merges the most frequent pair again and again (Sennrich et al. 2016),
by the `tokenizers` library. Its memory grows with the distinct words, a hundred times their bytes, so the sample ends
where an estimate reaches the limit: a corpus of serial numbers ends sooner than one of prose.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow.parquet as pq
from pydantic import field_validator, model_validator

from corpus.config import Section
from corpus.errors import ConfigError, InputError
from corpus.storage.store import Store
from corpus.tables.parquet import iter_tables, part_paths, read_file
from shards.split import fractions, is_validation
from shards.tokenizer import vocabulary
from shards.tokenizer.encode import TOKENIZER_PATH, load_tokenizer
from shards.tokenizer.vocabulary import Vocabulary
from shards.write_step import kept_texts

log = logging.getLogger(__name__)

RECORD_PATH = "tokenizer/source.json"
BYTES_PER_NEW_BYTE = 110
"""Memory of training per byte of distinct words: 104 where all words differ (10 MB of random letters), less in prose."""


class TokenizerConfig(Section):
    """Where the corpus' tokenizer comes from; asked at the first batch, compared at later ones."""

    source: str = "gpt2"
    """`gpt2` (its own vocabulary, shipped here), `train` (on a sample of the first batch), or a file: tokenizer.json, vocab.bpe, encoder.json or .tiktoken."""
    sha256: str = ""
    """Digest that the source file must have; empty: not compared."""
    vocab_size: int = 50257
    """Ids of a trained vocabulary, end-of-text included (GPT-2's number); fewer where the sample runs out of pairs."""
    sample_bytes: int = 100_000_000
    """UTF-8 bytes of documents to train on at most."""
    memory_bytes: int = 4 << 30
    """Memory that training may take, by an estimate from the words met: the sample ends there. 100 MB of prose take 0.5 GB."""
    seed: int = 0
    """Which documents the sample takes."""

    @field_validator("vocab_size")
    @classmethod
    def _enough(cls, value: int) -> int:
        if not 257 <= value <= 1 << 24:
            raise ValueError("expected 257 (256 bytes and end-of-text) to 16777216")
        return value

    @field_validator("sample_bytes", "memory_bytes")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value < 1:
            raise ValueError("expected at least 1")
        return value

    @model_validator(mode="after")
    def _digest_of_a_file(self) -> TokenizerConfig:
        if self.sha256 and self.source in ("gpt2", "train"):
            raise ValueError(
                f"sha256 is set and source {self.source!r} is no file; leave it empty, or name the file"
            )
        return self


def ensure_tokenizer(store: Store, config: TokenizerConfig, batch: str, val_frac: float) -> None:
    """Pin the corpus' tokenizer, or compare the pinned one with what is asked for.

    Raises: InputError, ConfigError with both where they differ: tokens of different vocabularies do not mix.
    """
    if store.exists(TOKENIZER_PATH):
        _compare(store, config)
        return
    record: dict[str, Any] = config.model_dump()
    if config.source == "train":
        found, sampled = _train_on_sample(store, config, batch, val_frac)
        record.update(sampled, batch=batch)
    else:
        found = _given(config)
        record["source_fingerprint"] = found.fingerprint
    record.update(fingerprint=found.fingerprint, actual_vocab_size=found.size)
    # The record first, so that no kill leaves a tokenizer without; and again, as it may be another's who pinned at the same time.
    store.write_json(RECORD_PATH, record)
    if store.create_exclusive(TOKENIZER_PATH, found.to_json().encode() + b"\n"):
        store.write_json(RECORD_PATH, record)
        log.info("tokenizer pinned: %s, %d ids, %s", config.source, found.size, found.fingerprint)
    else:
        _compare(store, config)


def train(texts: Iterable[str], vocab_size: int) -> Vocabulary:
    """A vocabulary of at most `vocab_size` ids, numbered as GPT-2's: bytes, merges, end-of-text last."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    model = tokenizers.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    model.train_from_iterator(texts, trainer)
    pairs = json.loads(model.to_str())["model"]["merges"]
    return vocabulary.from_merges(
        [(vocabulary.unspell(left), vocabulary.unspell(right)) for left, right in pairs]
    )


def _given(config: TokenizerConfig) -> Vocabulary:
    if config.source == "gpt2":
        return vocabulary.gpt2()
    if config.sha256:
        vocabulary.check_sha256(config.source, config.sha256)
    return vocabulary.load(config.source)


def _compare(store: Store, config: TokenizerConfig) -> None:
    """Raise when the settings ask for another tokenizer than the pinned one."""
    pinned = load_tokenizer(store)
    record = store.read_json(RECORD_PATH) if store.exists(RECORD_PATH) else None
    if record is not None and record.get("fingerprint") != pinned.fingerprint:
        raise InputError(
            f"{store.root}/{TOKENIZER_PATH} has fingerprint {pinned.fingerprint}, it was pinned with {record.get('fingerprint')} ({RECORD_PATH}): "
            f"it was changed since; restore the file"
        )
    if config.source != "train":
        asked = _given(config).fingerprint
        if asked != pinned.fingerprint:
            raise ConfigError(
                f"shards.tokenizer.source = {config.source!r} has fingerprint {asked}, this corpus is pinned to {pinned.fingerprint} ({store.root}/{TOKENIZER_PATH}); "
                f"its tokenizer never changes: use the source it began with, or another corpus"
            )
        return
    if record is None:
        return
    for key in ("source", "vocab_size", "sample_bytes", "seed"):
        asked = getattr(config, key)
        if record.get(key) != asked:
            raise ConfigError(
                f"shards.tokenizer.{key} = {asked!r}, this corpus is pinned to a tokenizer made with {record.get(key)!r} ({store.root}/{RECORD_PATH}); "
                f"its tokenizer never changes: use the old setting, or another corpus"
            )


def _train_on_sample(
    store: Store, config: TokenizerConfig, batch: str, val_frac: float
) -> tuple[Vocabulary, dict[str, int]]:
    sampled = {"sampled_documents": 0, "sampled_bytes": 0}

    def texts() -> Iterator[str]:
        for text in _within_memory(_sample(store, config, batch, val_frac), config.memory_bytes):
            sampled["sampled_documents"] += 1
            sampled["sampled_bytes"] += len(text.encode())
            yield text

    log.info(
        "training a tokenizer on at most %s bytes of batch %s", f"{config.sample_bytes:,}", batch
    )
    found = train(texts(), config.vocab_size)
    if not sampled["sampled_documents"]:
        raise InputError(
            f'{store.root}: batch {batch!r} has no kept documents to train a tokenizer on; set shards.tokenizer.source = "gpt2" or begin with a larger batch'
        )
    return found, sampled


def _within_memory(texts: Iterable[str], memory_bytes: int) -> Iterator[str]:
    """`texts` until training on them would take more than `memory_bytes`."""
    met: set[str] = set()
    estimate = 0
    for text in texts:
        new = set(text.split()) - met
        estimate += BYTES_PER_NEW_BYTE * sum(len(word.encode()) for word in new)
        if estimate > memory_bytes:
            log.warning(
                "the tokenizer's sample ends before its size: more would take over %s bytes of memory "
                "(shards.tokenizer.memory_bytes)",
                f"{memory_bytes:,}",
            )
            return
        met |= new
        yield text


def _sample(store: Store, config: TokenizerConfig, batch: str, val_frac: float) -> Iterator[str]:
    """Kept training documents of a batch as they are encoded, chosen by hash, up to the limit in bytes."""
    paths = part_paths(store, "documents", batch)
    share = config.sample_bytes / max(1, sum(_text_bytes(store, path) for path in paths))
    left = config.sample_bytes
    for path, verdicts_path in zip(paths, part_paths(store, "verdicts", batch), strict=True):
        verdicts = read_file(store, verdicts_path, ["doc_id", "kept", "cuts"])
        for table in iter_tables(store, path, ["doc_id", "text"]):
            doc_ids, texts = kept_texts(table, verdicts)
            ids = doc_ids.to_pylist()
            chosen = (fractions(ids, config.seed) < share) & ~is_validation(ids, val_frac)
            for row in chosen.nonzero()[0].tolist():
                text = texts[row].as_py()
                left -= len(text.encode())
                if left < 0:
                    return
                yield text


def _text_bytes(store: Store, path: str) -> int:
    """Bytes of the texts in a part, from its footer (a little less where many texts are equal)."""
    with store.open_input(path) as stream:
        metadata = pq.read_metadata(stream)
    column = metadata.schema.names.index("text")
    return sum(
        int(metadata.row_group(index).column(column).total_uncompressed_size)
        for index in range(metadata.num_row_groups)
    )
