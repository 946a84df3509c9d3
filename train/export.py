"""To Hugging Face and back: `webtext export`.

`--to hf` writes a folder for `GPT2LMHeadModel.from_pretrained` and `AutoTokenizer.from_pretrained`:
config.json, model.safetensors, tokenizer.json and its settings. `--from hf` turns such a folder
into a run at step 0 without optimizer state. `train.gpt2.huggingface` has the conversion.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import open_corpus
from train.config import RuntimeConfig


def main(argv: Sequence[str] | None = None) -> int:
    """The door: one direction or the other."""
    return command.run_command(_main, argv, stage="train.export")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    if (args.model is None) == (args.folder is None) or (
        args.model is not None and args.source is None
    ):
        raise InputError(
            "train.export: expected --folder DIR, or with --from hf --model NAME; see --help"
        )

    store = open_corpus(args.corpus)
    # torch takes seconds to load: what can be refused without it is refused before
    from train.checkpoints.load import load_model
    from train.distributed import join_world
    from train.gpt2.huggingface import fetch_hf, import_run, write_hf

    world = join_world(RuntimeConfig(device="cpu"))
    folder = Path(args.folder) if args.model is None else fetch_hf(args.model)
    if args.source is not None:
        import_run(store, args.run, folder, world)
        print(f"train.export: {folder} is now run {args.run}")
    else:
        loaded = load_model(store, args.run, args.checkpoint, world)
        write_hf(loaded, store.read_bytes("tokenizer/tokenizer.json"), folder)
        print(f"train.export: run {args.run} at step {loaded.step} written to {folder}")

    if args.json:
        print(json.dumps({"run": args.run, "folder": str(folder)}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "train.export",
        "Convert a run to a Hugging Face folder, or such a folder to a run.",
        batch=False,
    )
    parser.add_argument("--run", required=True, metavar="R", help="the run to write, or to make")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step (default: last)")
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument(
        "--to", choices=("hf",), dest="target", help="write a Hugging Face folder"
    )
    direction.add_argument(
        "--from", choices=("hf",), dest="source", help="make a Hugging Face folder a run"
    )
    parser.add_argument("--folder", metavar="DIR", help="the Hugging Face folder, on this machine")
    parser.add_argument(
        "--model", metavar="NAME", help="with --from: a model's name at the Hugging Face hub"
    )

    return parser


if __name__ == "__main__":
    raise SystemExit(main())
