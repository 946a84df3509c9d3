"""Fit a model of quality on the votes of this corpus, or on any labelled texts.

    webtext fit-quality --corpus C --name votes [--batches B ...]
    webtext fit-quality --corpus C --name mine --labelled FILE.jsonl

The model and its card are C/models/NAME.quality and NAME.md. Use it with
`clean.quality.model = "NAME"`, as a filter with `clean.quality.model_threshold`, or as a weight with
`train.data.sample_by = "quality"`. Judge it with `webtext ablate`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from xxhash import xxh3_128_hexdigest

from clean.filters.learned_quality import MAX_BITS, MIN_BITS, model_path
from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import Store, check_name, open_corpus
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import read_manifest
from webtext.quality.card import card
from webtext.quality.fit import Fitted, fit
from webtext.quality.labels import Labelled, by_votes, of_file

DEFAULT_DOCUMENTS = 200_000
DEFAULT_BITS = 18


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command.run_command(_main, argv, stage="webtext.fit-quality")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    name = check_name("--name", args.name)
    if not MIN_BITS <= args.bits <= MAX_BITS:
        raise InputError(f"--bits {args.bits}: expected {MIN_BITS} to {MAX_BITS}")

    store = open_corpus(args.corpus)
    path = model_path(name)
    if store.exists(path) and not args.replace:
        raise InputError(
            f"{store.root}/{path}: there already; documents may depend on it. Name another with "
            "--name, or give --replace"
        )

    examples, source = _examples(store, args)
    fitted = fit(examples, 1 << args.bits, args.seed)
    about = _about(source, args, fitted)
    data = fitted.model.to_bytes(about)
    store.write_bytes(path, data)
    shown = card(name, about, fitted, xxh3_128_hexdigest(data))
    store.write_bytes(path.rpartition(".")[0] + ".md", shown.encode())

    print(shown)
    if not fitted.tells_something:
        print("warning: on unseen sites this model is not better than chance; do not filter by it")
    print(f"next: webtext rebuild --from clean --set clean.quality.model={name} ...")
    if args.json:
        print(json.dumps({"model": path, "digest": xxh3_128_hexdigest(data), **about}))
    return 0


def _examples(store: Store, args: argparse.Namespace) -> tuple[list[Labelled], str]:
    """The labelled texts, and their origin in words."""
    if args.labelled:
        found = [each for path in args.labelled for each in of_file(path)]
        return found, f"{len(args.labelled)} labelled files"

    batches = args.batches or batch_names(store)
    for batch in batches:
        read_manifest(store, "documents", check_name("--batches", batch))
    return by_votes(store, batches, args.documents), f"votes of {', '.join(batches)}"


def _about(source: str, args: argparse.Namespace, fitted: Fitted) -> dict[str, Any]:
    """The remarks in the model's file: no time and no path. Equal fits are equal bytes."""
    return {
        "labels": source,
        "seed": args.seed,
        "good": fitted.num_good,
        "bad": fitted.num_bad,
        "auc": round(fitted.auc, 4),
        "auc_error": round(fitted.auc_error, 4),
        "brier": round(fitted.brier, 4),
    }


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("webtext.fit-quality", __doc__ or "", batch=False, tasks=False)
    parser.add_argument("--name", required=True, metavar="NAME", help="name of the model")
    parser.add_argument(
        "--batches", nargs="+", metavar="B", help="batches with documents (default: all)"
    )
    parser.add_argument(
        "--labelled",
        nargs="+",
        metavar="FILE.jsonl",
        help="texts with `text` and `label` (0 or 1) instead of votes",
    )

    parser.add_argument(
        "--documents",
        type=command.positive,
        default=DEFAULT_DOCUMENTS,
        metavar="N",
        help=f"most documents to fit on (default: {DEFAULT_DOCUMENTS:,})",
    )
    parser.add_argument(
        "--bits",
        type=int,
        default=DEFAULT_BITS,
        metavar="N",
        help=f"2^N buckets for words and pairs of words (default: {DEFAULT_BITS})",
    )
    parser.add_argument("--seed", type=int, default=0, help="order of the fit (default: 0)")

    parser.add_argument("--replace", action="store_true", help="replace a model of this name")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
