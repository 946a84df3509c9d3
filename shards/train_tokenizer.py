"""The command `webtext tokenizer train`: trains the corpus' tokenizer on documents of several batches and pins it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import check_name, open_corpus
from corpus.tables.manifest import read_manifest
from shards.config import ShardsConfig
from shards.pin_tokenizer import ensure_tokenizer
from shards.tokenizer.encode import RECORD_PATH, TOKENIZER_PATH


def main(argv: Sequence[str] | None = None) -> int:
    """Train a tokenizer and pin it, before any batch of the corpus has tokens."""
    return command.run_command(_body, argv, stage="shards.train_tokenizer")


def _body(argv: Sequence[str] | None) -> int:
    parser = command.parser(
        "shards.train_tokenizer",
        "Train the corpus' tokenizer on a sample of documents and pin it.",
        ShardsConfig,
        "shards",
        batch=False,
        tasks=False,
    )
    parser.add_argument("action", choices=("train",), help="train: train a vocabulary and pin it")
    parser.add_argument(
        "--batches",
        nargs="+",
        required=True,
        metavar="B",
        help="batches with documents and verdicts, from which the sample is taken",
    )
    args = parser.parse_args(argv)
    config = command.config(ShardsConfig, "shards", args)
    store = open_corpus(args.corpus)
    batches = sorted({check_name("--batches", batch) for batch in args.batches})
    for batch in batches:
        for table in ("documents", "verdicts"):
            read_manifest(store, table, batch)

    if store.exists(TOKENIZER_PATH):
        raise InputError(
            f"{store.root}/{TOKENIZER_PATH}: this corpus has a tokenizer, which never changes; "
            "train before its first batch has tokens"
        )

    settings = config.tokenizer.model_copy(update={"source": "train"})
    ensure_tokenizer(store, settings, batches, config.writer.val_frac)
    record = store.read_object(RECORD_PATH)
    print(
        f"tokenizer: {record['actual_vocab_size']:,} ids from {record['sampled_documents']:,} "
        "documents "
        f"({record['sampled_bytes']:,} bytes) of {', '.join(batches)}"
    )
    print(f"next: webtext shards --corpus {args.corpus} --set shards.tokenizer.source=train ...")
    if args.json:
        print(json.dumps(record, sort_keys=True))

    return 0


if __name__ == "__main__":
    raise SystemExit(main())
