"""The corpus' tokenizer: trained once on a sample of documents, or taken from a file, then pinned.

Training counts words of GPT-2's split rule and merges the most frequent pair again and again
(Sennrich et al. 2016), by the `tokenizers` library. Its memory grows with the distinct words, a
hundred times their bytes, so the sample ends where an estimate reaches the limit: a corpus of
serial numbers ends sooner than one of prose.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator

from corpus.config import Section
from corpus.errors import ConfigError, InputError
from corpus.storage.store import Store
from shards.tokenizer import vocabulary, vocabulary_files
from shards.tokenizer.byte_spelling import unspell
from shards.tokenizer.encode import (
    RECORD_PATH,
    TOKENIZER_PATH,
    Tokenizer,
    load_tokenizer,
    parse_tokenizer,
)
from shards.tokenizer.split_rules import SPLIT_RULES
from shards.tokenizer.vocabulary import Vocabulary
from shards.tokenizer_sample import sample_texts, within_memory

log = logging.getLogger(__name__)

# Settings with an effect on a trained vocabulary.
TRAINING_SETTINGS = ("source", "vocab_size", "sample_bytes", "seed")
# Settings of training, without effect on a vocabulary taken from elsewhere.
UNUSED_BY_A_FILE = ("vocab_size", "sample_bytes", "memory_bytes", "seed")
# Settings allowed without a source once a tokenizer is pinned, if they are the pin's.
PINNED_SETTINGS = ("vocab_size", "sample_bytes", "seed")


class TokenizerConfig(Section):
    """Source of the corpus' tokenizer; asked at the first batch, compared at later ones."""

    source: str = "gpt2"
    """`gpt2` (its own vocabulary, shipped here), `train` (on a sample of the first batch), or a file or folder: tokenizer.json, vocab.json with merges.txt, vocab.bpe, encoder.json or .tiktoken."""
    sha256: str = ""
    """Digest that the source file must have; empty: not compared."""
    end_of_text: str = ""
    """Token that ends every document, such as `</s>` or `<|end_of_text|>`.

    Empty: `<|endoftext|>`. For a .tiktoken file NAME=ID.
    """
    split_rule: str = ""
    """How text is split into words, for source files that do not say it (all but tokenizer.json): gpt2, cl100k, o200k, qwen2, digits or deepseek; empty: known from the file's content, or refused."""
    vocab_size: int = 50257
    """Ids of a trained vocabulary, end-of-text included (GPT-2's number).

    Fewer if the sample runs out of pairs.
    """
    sample_bytes: int = 100_000_000
    """UTF-8 bytes of documents to train on; all documents if there are fewer."""
    memory_bytes: int = 4 << 30
    """Memory that training may take, by an estimate from the words met: the sample ends there.

    100 MB of prose take 0.5 GB.
    """
    seed: int = 0
    """Decides which documents the sample takes."""

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

    @field_validator("split_rule")
    @classmethod
    def _known_rule(cls, value: str) -> str:
        if value and value not in SPLIT_RULES:
            raise ValueError(f"expected one of {', '.join(SPLIT_RULES)}, or empty")
        return value

    @model_validator(mode="after")
    def _settings_of_a_file(self) -> TokenizerConfig:
        if self.source not in ("gpt2", "train"):
            return self

        for name in ("sha256", "end_of_text", "split_rule"):
            if getattr(self, name):
                raise ValueError(
                    f"{name} is set and source {self.source!r} is no file; leave it empty, or "
                    "name the file"
                )

        return self


def ensure_tokenizer(
    store: Store, config: TokenizerConfig, batches: Sequence[str], val_frac: float
) -> None:
    """Pin the corpus' tokenizer, or compare the pinned one with the settings.

    Training a tokenizer uses documents of `batches`. Raises: InputError, ConfigError with both
    values if they differ: tokens of different vocabularies do not mix.
    """
    if store.exists(TOKENIZER_PATH):
        _compare(store, config)
        return

    if config.source != "train":
        for name in sorted({*UNUSED_BY_A_FILE} & config.model_fields_set):
            log.warning(
                "shards.tokenizer.%s = %r has no effect: shards.tokenizer.source is %r; a "
                "vocabulary of your own has --set shards.tokenizer.source=train",
                name,
                getattr(config, name),
                config.source,
            )

    record: dict[str, Any] = config.model_dump()
    if config.source == "train":
        found, sampled = _train_on_sample(store, config, batches, val_frac)
        record.update(sampled, batch=batches[0], batches=list(batches))
    else:
        found = _given(config)

    document = found.to_json().encode() + b"\n"
    # Parsed from the pinned bytes: steps reading them back then find it loaded.
    pinned = parse_tokenizer(document, found.end_of_text_token)
    _check_round_trip(pinned, config.source)
    if config.source != "train":
        record["source_fingerprint"] = _fingerprint(found, pinned)
    record.update(
        fingerprint=pinned.fingerprint,
        actual_vocab_size=found.size,
        end_of_text=found.end_of_text_token,
    )

    # The record first, so that no kill leaves a tokenizer without one. Then again: another run that pinned at the
    # same time may have written its own.
    store.write_json(RECORD_PATH, record)

    if store.create_exclusive(TOKENIZER_PATH, document):
        store.write_json(RECORD_PATH, record)
        _log_pinned(config, found, pinned.fingerprint)
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

    return vocabulary.from_merges([(unspell(left), unspell(right)) for left, right in pairs])


def _given(config: TokenizerConfig) -> Vocabulary:
    if config.source == "gpt2":
        return vocabulary.gpt2()
    if config.sha256:
        vocabulary_files.check_sha256(config.source, config.sha256)
    return vocabulary_files.load(
        config.source, split_rule=config.split_rule, end_of_text=config.end_of_text
    )


def _check_round_trip(tokenizer: Tokenizer, source: str) -> None:
    """Refuse a vocabulary if it loses plain text or finds its end-of-text in one."""
    end_of_text = tokenizer.vocabulary.end_of_text_token
    if tokenizer.end_of_text in tokenizer.encode(f"a {end_of_text} b{end_of_text}"):
        raise InputError(
            f"tokenizer source {source}: text that spells {end_of_text} gets the id "
            "that ends a document; choose another shards.tokenizer.end_of_text"
        )

    text = "Plain words, 12 numbers and (punctuation)."
    back = tokenizer.decode(tokenizer.encode(text))
    if back.strip() != text:
        raise InputError(
            f"tokenizer source {source}: {text!r} comes back as {back!r}; expected a vocabulary "
            "that keeps plain text"
        )


def _fingerprint(found: Vocabulary, pinned: Tokenizer) -> str:
    """The fingerprint of a vocabulary, which takes .2 s, or that of the pinned one if it is equal."""
    same = (found.document, found.end_of_text_token) == (
        pinned.vocabulary.document,
        pinned.vocabulary.end_of_text_token,
    )
    return pinned.fingerprint if same else found.fingerprint


def _log_pinned(config: TokenizerConfig, found: Vocabulary, fingerprint: str) -> None:
    before, after = found.frame
    log.info(
        "tokenizer pinned: %s, %d ids, documents end with %s (%d)%s, %s",
        config.source,
        found.size,
        found.end_of_text_token,
        found.end_of_text,
        f", framed by ids {before} and {after} of its post-processor" if before or after else "",
        fingerprint,
    )


def check_pin(store: Store, config: TokenizerConfig) -> None:
    """Raise ConfigError or InputError if the corpus is pinned to another tokenizer than asked for."""
    if store.exists(TOKENIZER_PATH):
        _compare(store, config)


def _compare(store: Store, config: TokenizerConfig) -> None:
    """Raise if the given settings ask for another tokenizer than the pinned one.

    Settings not given follow the pin.
    """
    pinned = load_tokenizer(store)
    record = store.read_object(RECORD_PATH) if store.exists(RECORD_PATH) else None
    if record is not None and record.get("fingerprint") != pinned.fingerprint:
        raise InputError(
            f"{store.root}/{TOKENIZER_PATH} has fingerprint {pinned.fingerprint}, it was pinned "
            f"with {record.get('fingerprint')} ({RECORD_PATH}): "
            f"it was changed since; restore the file"
        )
    given = config.model_fields_set
    if record is not None and "source" not in given:
        named = [name for name in PINNED_SETTINGS if name in given]
        _compare_settings(store, config, record, named)
        return
    if config.source == "train":
        if record is not None:
            named = [name for name in TRAINING_SETTINGS if name in given]
            _compare_settings(store, config, record, named)
        return
    if record is not None and _is_gone(config.source):
        # The corpus has all of it: a later batch, here or on another machine, does not need the file again.
        _compare_settings(store, config, record, ("source", "sha256"))
        return

    asked = _given(config).fingerprint
    if asked != pinned.fingerprint:
        raise ConfigError(
            f"shards.tokenizer.source = {config.source!r}: this corpus has {_pin_text(record)} "
            f"({store.root}/{TOKENIZER_PATH}), and a corpus never changes its tokenizer; leave out "
            "--set shards.tokenizer.source=..., or begin another corpus"
        )


def _pin_text(record: dict[str, Any] | None) -> str:
    """The pinned tokenizer in the words of its settings."""
    if record is None:
        return "another tokenizer"
    source = record.get("source")
    if source == "train":
        return f"a tokenizer trained on its documents (vocab_size {record.get('vocab_size')})"
    return f"the tokenizer {source!r}"


def _is_gone(source: str) -> bool:
    return source != "gpt2" and not Path(source).exists()


def _compare_settings(
    store: Store, config: TokenizerConfig, record: dict[str, Any], names: Sequence[str]
) -> None:
    for key in names:
        asked = getattr(config, key)
        if record.get(key) != asked:
            raise ConfigError(
                f"shards.tokenizer.{key} = {asked!r}: this corpus has {_pin_text(record)}, made "
                f"with {key} {record.get(key)!r} ({store.root}/{RECORD_PATH}), and a corpus never "
                f"changes its tokenizer; leave out --set shards.tokenizer.{key}=..., or begin "
                "another corpus"
            )


def _train_on_sample(
    store: Store, config: TokenizerConfig, batches: Sequence[str], val_frac: float
) -> tuple[Vocabulary, dict[str, int]]:
    sampled = {"sampled_documents": 0, "sampled_bytes": 0}

    def texts() -> Iterator[str]:
        found = sample_texts(
            store, batches, sample_bytes=config.sample_bytes, seed=config.seed, val_frac=val_frac
        )
        for text in within_memory(found, config.memory_bytes):
            sampled["sampled_documents"] += 1
            sampled["sampled_bytes"] += len(text.encode())
            yield text

    log.info(
        "training a tokenizer on %s bytes of %s",
        f"{config.sample_bytes:,}",
        ", ".join(batches),
    )
    found = train(texts(), config.vocab_size)
    if not sampled["sampled_documents"]:
        raise InputError(
            f"{store.root}: batch {', '.join(map(repr, batches))} has no kept documents to train "
            'a tokenizer on; set shards.tokenizer.source = "gpt2" or begin with a larger batch'
        )

    return found, sampled
