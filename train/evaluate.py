"""Scores of a checkpoint: `webtext evaluate`.

Scores the snapshot's whole validation split and GPT-2's zero-shot tasks on their official files.
Every figure is named by its unit of counting, since published numbers differ by exactly this. The
paper's four sizes are shown as well. Earlier scores of the same weights and snapshot stay in the
table. `train/tasks` has the tasks; `docs/scores.md` explains the figures and compares them.

    webtext evaluate --corpus C --run R --tasks FOLDER            every set below FOLDER
    webtext evaluate --corpus C --run R --task lambada=FILE ...   these
    webtext evaluate --corpus C --run R --texts news=FILE ...     bits per byte on own texts
    webtext evaluate --corpus C --run R --harness piqa,boolq      tasks of lm-evaluation-harness
    webtext evaluate --model FOLDER --out FOLDER --tasks FOLDER   a Hugging Face GPT-2
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.errors import InputError
from corpus.evaluation_sets.official import SETS, SetFile, find_set, missing, open_set
from corpus.run import command
from corpus.snapshots.snapshot import read_snapshot
from corpus.storage.store import Store, open_corpus, open_store
from shards.reader import open_split, sequential_blocks
from train.checkpoints.run_folder import RunFolder
from train.config import RuntimeConfig
from train.scores import core_tasks, paper
from train.scores.tasks.task import Figures, Options, exp

if TYPE_CHECKING:
    from train.checkpoints.load import LoadedModel
    from train.machine.distributed import World

log = logging.getLogger(__name__)

# What scores that stand in one table share.
SAME = ("weights", "snapshot", "dtype")


@dataclass(frozen=True)
class Subject:
    """The scored model, and the place of its scores."""

    loaded: LoadedModel
    store: Store
    folder: str
    """Of scores.json, in the store; empty: its root."""
    name: str
    snapshot: str | None

    @property
    def prefix(self) -> str:
        """Prefix of all written paths."""
        return f"{self.folder}/" if self.folder else ""

    @property
    def outcomes(self) -> str:
        """The folder of this checkpoint's outcomes."""
        return f"{self.prefix}scores/step-{self.loaded.step}"


def validation(loaded: LoadedModel, store: Store, snapshot_name: str, world: World) -> Figures:
    """Loss over the snapshot's whole validation split.

    Raises: InputError when the snapshot was encoded by another tokenizer.
    """
    from train.machine.distributed import micro_batch_size
    from train.validation import split_loss

    snapshot = read_snapshot(store, snapshot_name)
    expected = loaded.identity["tokenizer_fingerprint"]
    if snapshot.tokenizer_fingerprint != expected:
        raise InputError(
            f"snapshot {snapshot_name}: tokenizer {snapshot.tokenizer_fingerprint}, the run has {expected}; "
            f"name another --snapshot"
        )

    loss = split_loss(
        loaded.model,
        sequential_blocks(
            open_split(store.root, snapshot_name, "val"), loaded.model.shape.block_size
        ),
        snapshot.splits["val"].num_bytes,
        batch=micro_batch_size(RuntimeConfig(), world.device, loaded.model.shape.block_size),
        world=world,
    )

    return {
        "tokens": loss.num_tokens,
        "bytes": loss.num_bytes,
        "nats_per_token": loss.nats_per_token,
        "perplexity_per_token": exp(loss.nats_per_token),
        "bits_per_byte": loss.bits_per_byte,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The door: scores.json and scores.md in the run's folder."""
    return command.run_command(_main, argv, stage="train.evaluate")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    _check(args)
    options = Options(
        stride=args.stride,
        detokenize=not args.as_tokenized,
        seed=args.seed,
        begin=not args.no_begin,
    )
    files = _files(args)
    # torch takes seconds to load: what can be refused without it is refused before
    from train.machine.distributed import join_world, leave_world

    world = join_world(RuntimeConfig(device=args.device, dtype=args.dtype), exact=True)
    with command.interruptible():
        subject = _subject(args, world)
        if options.stride > subject.loaded.model.shape.block_size:
            raise InputError(
                f"--stride {options.stride}: the model reads {subject.loaded.model.shape.block_size} tokens; give 1 to that, or 0"
            )
        scores = _scores(args, subject, files, options, world)

    if world.is_main:
        scores = _kept(subject, scores)
        print(tables(scores))
        if args.json:
            print(json.dumps(scores, sort_keys=True))

    leave_world(world)
    return 0


def _scores(
    args: argparse.Namespace,
    subject: Subject,
    files: Sequence[SetFile],
    options: Options,
    world: World,
) -> dict[str, Any]:
    from train.machine.distributed import dtype_name
    from train.scores import texts
    from train.scores.score_set import TASKS, overlap_of, overlaps, run_task

    scores: dict[str, Any] = {
        "run": subject.name,
        "step": subject.loaded.step,
        "weights": subject.loaded.weights,
        "snapshot": subject.snapshot,
        "dtype": dtype_name(world),
        "sets": {},
        "about": {},
    }
    measured: dict[str, Any] = {}

    if subject.snapshot is not None:
        scores["sets"]["validation"] = {
            "snapshot": subject.snapshot,
            **validation(subject.loaded, subject.store, subject.snapshot, world),
        }
        snapshot = read_snapshot(subject.store, subject.snapshot)
        measured = overlaps(subject.store, [each.batch for each in snapshot.batches])

    for file in files:
        name = file.official.name
        found = run_task(
            TASKS[name],
            file,
            subject.loaded,
            world,
            options,
            subject.store,
            subject.outcomes,
            weights=subject.loaded.weights,
            limit=args.limit,
            overlap=overlap_of(file, measured),
        )
        scores["sets"][name] = found.figures
        scores["about"][name] = found.about

    if args.harness:
        from train.scores import harness

        found_tasks = harness.score_tasks(
            subject.loaded,
            [task for given in args.harness for task in given.split(",")],
            world,
            folder=args.harness_tasks,
            limit=args.limit,
        )
        for name, figures in found_tasks.items():
            scores["sets"][f"{harness.PREFIX}{name}"] = figures
            scores["about"][f"{harness.PREFIX}{name}"] = {"limit": args.limit} if args.limit else {}

    for each in texts.text_sets(args.texts):
        name = f"{texts.PREFIX}{each.name}"
        scores["sets"][name] = texts.score_texts(subject.loaded, each, world)
        scores["about"][name] = {"file": Path(each.path).name, "xxh3_128": each.digest}

    return scores


def _kept(subject: Subject, scores: dict[str, Any]) -> dict[str, Any]:
    """Write the scores with the checkpoint's earlier ones of other sets; return what was written.

    A checkpoint's own scores are in its folder; the run's are those of the last call.
    """
    path = f"{subject.outcomes}/scores.json"
    earlier = subject.store.read_object(path) if subject.store.exists(path) else None
    if earlier is not None:
        _check_earlier(earlier, f"{subject.store.root}/{path}")
        if others := different(earlier, scores):
            log.info(
                "%s: %s made of other %s, and not in the table: score again what it should show",
                f"{subject.store.root}/{path}",
                ", ".join(earlier["sets"]),
                " and ".join(others),
            )
        scores = together(earlier, scores)

    for written in (path, f"{subject.prefix}scores.json"):
        subject.store.write_json(written, scores)
    subject.store.write_bytes(f"{subject.prefix}scores.md", f"{tables(scores)}\n".encode())

    return scores


def _check_earlier(earlier: Mapping[str, Any], where: str) -> None:
    """Raises: InputError for a file that does not hold the scores of a checkpoint."""
    objects = all(isinstance(earlier.get(part), dict) for part in ("sets", "about"))
    if not objects or not earlier.keys() >= set(SAME) - {"dtype"}:
        raise InputError(
            f"{where}: expected the scores of a checkpoint; restore the file, or delete it and "
            "score again"
        )


def tables(scores: Mapping[str, Any]) -> str:
    """The paper's table, and those of few-shot tasks and own texts if there are any."""
    from train.scores import harness, texts

    found = (
        paper.table(scores),
        core_tasks.table(scores),
        harness.table(scores),
        texts.table(scores),
    )
    return "\n\n".join(each for each in found if each)


def together(earlier: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, Any]:
    """`scores` plus other sets of `earlier`, if both are of the same weights, snapshot and type."""
    if different(earlier, scores):
        return dict(scores)
    return {**scores, **{part: {**earlier[part], **scores[part]} for part in ("sets", "about")}}


def different(earlier: Mapping[str, Any], scores: Mapping[str, Any]) -> list[str]:
    """The names of SAME in which two scores differ. Earlier versions scored in float32 on a CPU."""
    known = {"dtype": "float32", **earlier}
    return [name for name in SAME if known[name] != scores[name]]


def _check(args: argparse.Namespace) -> None:
    """Check options. Raises: InputError for contradicting or meaningless ones."""
    if args.model is not None and (args.run is not None or args.out is None):
        raise InputError("--model wants --out FOLDER for its scores, and no --run")
    if args.model is None and (args.corpus is None or args.run is None):
        raise InputError("name a run with --corpus C --run R, or a Hugging Face GPT-2 with --model")

    for option, value in (
        ("--limit", args.limit),
        ("--stride", args.stride),
        ("--seed", args.seed),
    ):
        if value < 0:
            raise InputError(
                f"train.evaluate: {option} {value} is out of range: expected 0 or more"
            )


def _files(args: argparse.Namespace) -> list[SetFile]:
    """Open the requested sets. Raises: InputError for a missing, altered or unknown one."""
    named = {}
    for given in args.task:
        name, equals, path = given.partition("=")
        if name not in SETS:
            raise InputError(f"--task {given}: unknown set {name!r}; known: {', '.join(SETS)}")
        named[name] = Path(path) if equals else None

    if args.tasks is not None:
        folder = Path(args.tasks)
        if not folder.is_dir():
            raise InputError(f"--tasks {folder}: no such folder")
        for name in SETS:
            found = find_set(name, folder)
            if found is not None and (not named or name in named):
                named[name] = named.get(name) or found

    for name, path in named.items():
        if path is None:
            raise missing(name, Path(args.tasks or "."))

    return [
        open_set(name, path, allow_altered=args.allow_altered)
        for name, path in named.items()
        if path is not None
    ]


def _subject(args: argparse.Namespace, world: World) -> Subject:
    from train.checkpoints.load import load_model
    from train.gpt2.pretrained import load_pretrained

    if args.model is not None:
        pretrained = load_pretrained(args.model, world)
        return Subject(pretrained, open_store(args.out), "", args.model, None)

    store = open_corpus(args.corpus)
    loaded = load_model(store, args.run, args.checkpoint, world)
    snapshot = args.snapshot or loaded.described["snapshot"]

    return Subject(loaded, store, RunFolder(store, args.run).path, args.run, snapshot)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("train.evaluate", __doc__ or "", batch=False, corpus_required=False)
    parser.add_argument(
        "--run",
        "--name",
        metavar="R",
        help="the training run (under torchrun --name: it takes --run for its own)",
    )
    parser.add_argument("--checkpoint", default="last", help="last, best or a step (default: last)")
    parser.add_argument(
        "--snapshot", metavar="NAME", help="whose validation split (default: the run's)"
    )
    parser.add_argument(
        "--model",
        metavar="FOLDER",
        help="a Hugging Face GPT-2 instead of a run: a folder, or a name on the hub",
    )
    parser.add_argument("--out", metavar="FOLDER", help="where the scores of --model go")
    parser.add_argument(
        "--tasks", metavar="FOLDER", help="score every set whose official file lies below it"
    )
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="SET[=FILE]",
        help=f"score one set, its file named or below --tasks; may be repeated: {', '.join(SETS)}",
    )
    parser.add_argument(
        "--texts",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="bits per byte on own texts: JSON lines or Parquet with `text`; may be repeated",
    )
    parser.add_argument(
        "--harness",
        action="append",
        default=[],
        metavar="TASK,TASK",
        help="tasks of lm-evaluation-harness (pip install 'webtext[harness]'); may be repeated",
    )
    parser.add_argument(
        "--harness-tasks", metavar="FOLDER", help="further tasks of the harness: YAML files"
    )
    parser.add_argument(
        "--allow-altered", action="store_true", help="score files that are not the official ones"
    )
    parser.add_argument(
        "--stride",
        type=int,
        default=0,
        metavar="N",
        help="language-modelling sets: tokens scored per window; 0: disjoint windows (default: 0)",
    )
    parser.add_argument(
        "--as-tokenized",
        action="store_true",
        help="language-modelling sets and CBT: score the tokenized text as it is",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=0,
        metavar="N",
        help="first entries only, of language-modelling sets first documents; 0: all (default: 0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of sampled summaries (default: 0)")
    parser.add_argument(
        "--no-begin",
        action="store_true",
        help="prompts without the <|endoftext|> that begins a document, as lm-evaluation-harness has them",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="type of the matrix products; figures of two types are kept apart (default: float32)",
    )

    return parser


if __name__ == "__main__":
    raise SystemExit(main())
