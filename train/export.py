"""To other programs and back: `webtext export`.

`--to hf` writes a folder for `GPT2LMHeadModel.from_pretrained` and `AutoTokenizer.from_pretrained`:
config.json, model.safetensors, tokenizer.json and its settings. `--to gguf` writes one file with
weights and tokenizer for llama.cpp. Both lie beside a model card, README.md. `--from hf` turns a
Hugging Face folder into a run at step 0 without optimizer state.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import Store, open_corpus
from shards.tokenizer.encode import load_tokenizer
from train.config import RuntimeConfig

if TYPE_CHECKING:
    from train.checkpoints.load import LoadedModel


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
    from train.gpt2.huggingface import fetch_hf, import_run
    from train.machine.distributed import join_world

    world = join_world(RuntimeConfig(device="cpu"))
    folder = Path(args.folder) if args.model is None else fetch_hf(args.model)
    if args.source is not None:
        import_run(store, args.run, folder, world)
        print(f"train.export: {folder} is now run {args.run}")
    else:
        loaded = load_model(store, args.run, args.checkpoint, world)
        _write(store, loaded, args, folder)
        print(f"train.export: run {args.run} at step {loaded.step} written to {folder}")

    if args.json:
        print(json.dumps({"run": args.run, "folder": str(folder)}))
    return 0


def _write(store: Store, loaded: LoadedModel, args: argparse.Namespace, folder: Path) -> None:
    """Write the model in the format asked for, with its card."""
    from train.gpt2.gguf import write_gguf
    from train.gpt2.huggingface import write_hf
    from train.gpt2.model_card import GGUF_USE, HF_USE, model_card

    if args.target == "hf":
        card = model_card(store, args.run, loaded, license_name=args.license, use=HF_USE)
        write_hf(loaded, store.read_bytes("tokenizer/tokenizer.json"), folder, card=card)
        return

    name = f"{args.run}-{args.dtype}.gguf"
    use = GGUF_USE.format(file=name)
    card = model_card(store, args.run, loaded, license_name=args.license, use=use)
    write_gguf(loaded, load_tokenizer(store).vocabulary, folder / name, args.dtype, card=card)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "train.export",
        "Convert a run for other programs, or a Hugging Face folder to a run.",
        batch=False,
    )
    parser.add_argument("--run", required=True, metavar="R", help="the run to write, or to make")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step (default: last)")
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument(
        "--to",
        choices=("hf", "gguf"),
        dest="target",
        help="hf: write a Hugging Face folder; gguf: write one file for llama.cpp",
    )
    direction.add_argument(
        "--from", choices=("hf",), dest="source", help="make a Hugging Face folder a run"
    )
    parser.add_argument(
        "--folder", metavar="DIR", help="the folder to write or read, on this machine"
    )
    parser.add_argument(
        "--dtype",
        choices=("f32", "f16", "q8_0"),
        default="f32",
        help="with --to gguf: how matrices are stored (default: f32)",
    )
    parser.add_argument(
        "--license",
        default="other",
        metavar="NAME",
        help="with --to: the licence that the model card names (default: other)",
    )
    parser.add_argument(
        "--model", metavar="NAME", help="with --from: a model's name at the Hugging Face hub"
    )

    return parser


if __name__ == "__main__":
    raise SystemExit(main())
