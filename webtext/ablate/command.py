"""Compare versions of the data: train the same small model on each, with several seeds.

    webtext ablate --corpus C --vary clean.quality.preset=webtext,fineweb --seeds 5 --tokens 10M --shape mini --to FOLDER
    webtext ablate --arms arms.toml --seeds 5 --tokens 10M --to FOLDER

Each arm is a corpus of its own in FOLDER/arms: tables that its settings do not change are linked,
later ones are rebuilt. The corpus itself is only read. All runs have the same shape, number of
tokens, seeds and held-out texts. FOLDER/report.html and result.json hold the result. The same
command continues after an interruption, and with more --seeds adds to what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corpus.errors import InputError
from corpus.run import command
from corpus.storage.lease import hold
from corpus.storage.local import local_root
from corpus.storage.store import Store, open_store
from train.scores.texts import text_sets
from webtext.ablate import overlay, result
from webtext.ablate.arms import Arm, arms_of_file, arms_of_vary
from webtext.ablate.by_domain import domain_results
from webtext.ablate.compare import POWER, detectable
from webtext.ablate.held_out import DEFAULT_BYTES, write_held_out
from webtext.ablate.runs import FIRST_SEED, Plan, TrainingRun, train_all

log = logging.getLogger(__name__)

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
# Parts of the plan fixed by the first call: `seeds` and `jobs` may differ.
FIXED = ("arms", "shape", "tokens", "sets", "held_out")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command.run_command(_main, argv, stage="webtext.ablate")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    arms = _arms(args)
    folder = _folder(args.to, arms)
    for arm in arms:
        overlay.check_settings(arm, args.sets)  # a refused one leaves no folder behind
    plan = Plan(
        shape=args.shape,
        tokens=num_tokens(args.tokens),
        seeds=args.seeds,
        held_out=str(folder / "held_out.jsonl"),
        sets=tuple(each for each in args.sets if each.startswith("train.")),
        jobs=args.jobs,
        texts=tuple(f"{each.name}={each.path}" for each in text_sets(args.texts)),
    )
    print(f"{len(arms)} arms, {plan.seeds} seeds, {len(arms) * plan.seeds} runs: {_power(plan)}")
    if args.dry_run:
        return 0

    store = open_store(str(folder))
    with command.interruptible(), hold(store, "lock.json", what="webtext.ablate"):
        _claim(store, arms, plan, args)
        runs, num_texts = ablate(arms, plan, folder, args)
        found, domains = result.results(runs), domain_results(runs, plan)
        title = " against ".join(arm.name for arm in arms)
        page = result.render_html(title, found, plan, num_texts, domains)
        store.write_bytes("report.html", page.encode())
        store.write_json("result.json", result.to_json(found, plan, domains))

    print(result.render(found, domains))
    print(f"report: {folder}/report.html")
    if args.json:
        print(json.dumps({"to": args.to, **result.to_json(found, plan, domains)}))
    return 0


def ablate(
    arms: Sequence[Arm], plan: Plan, folder: Path, args: argparse.Namespace
) -> tuple[list[TrainingRun], int]:
    """Build the arms and train all runs; also the number of held-out texts."""
    words = ["--executor", args.executor]
    words += ["--workers", str(args.workers)] if args.workers else []
    sets = [each for each in args.sets if not each.startswith("train.")]

    built = []
    for arm in arms:
        root = folder / "arms" / arm.name
        built.append((arm, str(root), overlay.build(arm, root, words, sets)))
        log.info("arm %s: snapshot %s", arm.name, built[-1][2])

    target = Path(plan.held_out)
    if args.held_out and not target.exists():
        shutil.copyfile(args.held_out, target)
    num_texts = write_held_out(target, [each[1:] for each in built], args.held_out_bytes)

    # All arms of a seed before the next seed: results left by an interruption are comparable.
    runs = [
        TrainingRun(arm, root, snapshot, FIRST_SEED + number)
        for number in range(plan.seeds)
        for arm, root, snapshot in built
    ]
    train_all(runs, plan)
    return runs, num_texts


def num_tokens(text: str) -> int:
    """`10M` as 10,000,000. Raises: InputError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([kmgb]?)", text.strip().lower())
    number = round(float(match[1]) * UNITS[match[2]]) if match else 0
    if number < 1:
        raise InputError(f"--tokens {text}: expected a number such as 500k, 10M or 1G")
    return number


def _arms(args: argparse.Namespace) -> list[Arm]:
    if bool(args.vary) == bool(args.arms):
        raise InputError("name what differs with --vary KEY=a,b or --arms arms.toml, one of both")

    if args.arms:
        return arms_of_file(args.arms, args.corpus)
    if args.corpus is None:
        raise InputError("--vary needs the corpus to vary; name it with --corpus C")
    return arms_of_vary(args.corpus, args.vary, args.snapshot)


def _folder(to: str, arms: Sequence[Arm]) -> Path:
    """The output folder. Raises: InputError for one in an object store or inside of a corpus."""
    folder = local_root(to)
    if folder is None:
        raise InputError(f"--to {to}: arms are hard links, which need a local folder; name one")

    for arm in arms:
        corpus = local_root(arm.corpus)
        if corpus is not None and folder.resolve().is_relative_to(corpus.resolve()):
            raise InputError(f"--to {to}: inside of the corpus {arm.corpus}; name another folder")
    return folder


def _power(plan: Plan) -> str:
    """The difference detectable with this number of seeds, computed before any training."""
    least = detectable(plan.seeds)
    if least is None:
        return "one seed shows no spread, so no difference can be claimed"
    return (
        f"a difference of {least:.1f} standard deviations of the paired differences is found with "
        f"probability {POWER:.0%}"
    )


def _claim(store: Store, arms: Sequence[Arm], plan: Plan, args: argparse.Namespace) -> None:
    """Claim the folder for this ablation. Raises: InputError if it holds another one."""
    values = dataclasses.asdict(plan)
    wanted: dict[str, Any] = {**{name: values[name] for name in FIXED[1:]}}
    wanted |= {"arms": [arm.to_json() for arm in arms], "sets": list(args.sets)}
    wanted["held_out"] = args.held_out or args.held_out_bytes
    try:
        found = store.read_object("ablation.json")
    except FileNotFoundError:
        store.write_json("ablation.json", wanted)
        return

    if changed := [name for name in FIXED if found.get(name) != wanted[name]]:
        raise InputError(
            f"--to {store.root}: begun with other {', '.join(changed)}; name a new folder, or repeat "
            "the command as it was (--seeds may grow)"
        )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "webtext.ablate", __doc__ or "", corpus_required=False, batch=False, tasks=False
    )
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="KEY=A,B",
        help="a setting and its values, an arm each; repeated: every combination",
    )
    parser.add_argument("--arms", metavar="FILE.toml", help="the arms as [[arm]] tables")
    parser.add_argument(
        "--snapshot", metavar="NAME", help="with --vary train.KEY=A,B: train on this snapshot"
    )

    parser.add_argument("--to", required=True, metavar="FOLDER", help="folder of arms and results")
    # Equal for all arms.
    parser.add_argument(
        "--seeds", type=command.positive, default=5, metavar="N", help="runs per arm (default: 5)"
    )
    parser.add_argument(
        "--tokens", default="10M", metavar="N", help="tokens per run, such as 10M (default: 10M)"
    )
    parser.add_argument(
        "--shape", default="mini", metavar="PRESET", help="shape of the model (default: mini)"
    )
    parser.add_argument(
        "--held-out",
        metavar="FILE.jsonl",
        help="judge on these texts (field `text`; default: pages that all arms hold out)",
    )
    parser.add_argument(
        "--texts",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="judge on these texts as well, by domain: JSON lines or Parquet with `text`; repeated",
    )
    parser.add_argument(
        "--held-out-bytes",
        type=command.positive,
        default=DEFAULT_BYTES,
        metavar="N",
        help=f"about so many bytes of held-out pages (default: {DEFAULT_BYTES:,})",
    )

    parser.add_argument(
        "--jobs",
        type=command.positive,
        default=1,
        metavar="N",
        help="runs at the same time, each a process; GPUs of CUDA_VISIBLE_DEVICES in turn (default: 1)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print runs and power, and stop")
    command.add_run_options(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
