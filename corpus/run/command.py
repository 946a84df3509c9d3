"""The arguments, the opening and the ending that every door shares.

A door's `main(argv)` returns its exit code: 0 done, 1 some parts failed, 2 bad usage, config or input, 130 or 143
interrupted with the state kept. Errors are one line on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from corpus.config import Section, describe, load_config
from corpus.errors import InputError, Interrupted, WebtextError
from corpus.run import funnel
from corpus.run.executor import Executor, open_executor
from corpus.run.runner import AnyStep, Run, StageResult, run_steps
from corpus.storage.lease import hold
from corpus.storage.store import Store, check_name, open_corpus, work_dir
from corpus.tables.manifest import read_manifest

S = TypeVar("S", bound=Section)

CORPUS_VARIABLE = "WEBTEXT_CORPUS"
"""The environment variable that names the corpus of commands without --corpus."""
_from_index: ContextVar[Mapping[str, str] | None] = ContextVar("_from_index", default=None)


class _Parser(argparse.ArgumentParser):
    """One line for wrong use, as for every other error."""

    def error(self, message: str) -> Any:
        raise InputError(f"{self.prog}: {message}; see --help")


def parser(
    prog: str,
    description: str,
    model: type[Section] | None = None,
    stage: str = "",
    *,
    batch: bool = True,
    corpus_required: bool = True,
    tasks: bool = True,
) -> argparse.ArgumentParser:
    """A parser with those of the shared flags that mean something to the door.

    With a `model` the door makes something under settings, which --help lists with their defaults, and makes it anew by
    --rebuild; in `tasks`, unless told that it starts its processes otherwise.
    """
    result = _Parser(
        prog=program(prog),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_settings_help(model, stage) if model is not None else None,
        allow_abbrev=False,
    )
    _add_corpus(result, required=corpus_required)
    if batch:
        result.add_argument(
            "--batch", required=True, metavar="B", help="the increment's name, such as 2024-01"
        )
    if model is not None:
        _add_settings(result)
        if tasks:
            _add_tasks(result)
        result.add_argument(
            "--rebuild", action="store_true", help="replace what was made with other settings"
        )
    result.add_argument("--json", action="store_true", help="end with one line of JSON on stdout")
    return result


def add_run_options(result: argparse.ArgumentParser) -> None:
    """Settings and where tasks run: what a door that runs stages passes on to them."""
    _add_settings(result)
    _add_tasks(result)


def _add_corpus(result: argparse.ArgumentParser, *, required: bool) -> None:
    named = os.environ.get(CORPUS_VARIABLE) or None
    result.add_argument(
        "--corpus",
        required=required and named is None,
        default=named,
        metavar="C",
        help=f"the corpus: a folder or a URI such as s3://bucket/prefix (default: {CORPUS_VARIABLE})",
    )


def _add_settings(result: argparse.ArgumentParser) -> None:
    result.add_argument("--config", metavar="FILE.toml", help="settings of all stages")
    result.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="section.key=value",
        dest="sets",
        help="one setting; may be repeated",
    )


def _add_tasks(result: argparse.ArgumentParser) -> None:
    result.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="tasks at the same time (default: one per core)",
    )
    result.add_argument(
        "--executor",
        choices=("auto", "serial", "pool", "ray"),
        default="auto",
        help="where tasks run (default: auto: ray when RAY_ADDRESS is set, else pool, or serial with --workers 1)",
    )


def program(name: str) -> str:
    """The command line that starts a program.

    Commands over a whole corpus are `webtext NAME`. The others are `python -m NAME` unless they were
    started by the index of commands: then `crawl.run` is `webtext crawl`, `train.export` `webtext export`.
    """
    package, _, rest = name.partition(".")
    if package == "webtext":
        return f"webtext {rest}"
    return (_from_index.get() or {}).get(name, f"python -m {name}")


@contextlib.contextmanager
def started_from_index(names: Mapping[str, str]) -> Iterator[None]:
    """Name programs as the index of commands does (module to command line) inside the block."""
    token = _from_index.set(names)
    try:
        yield
    finally:
        _from_index.reset(token)


def bare_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser without any flag yet, which answers wrong use in one line."""
    return _Parser(
        prog=program(prog),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def corpus_parser(
    prog: str, description: str, *, json_help: str = "end with one line of JSON on stdout"
) -> argparse.ArgumentParser:
    """Create the parser of a command that looks at or tends a whole corpus, with `--corpus` and `--json`."""
    result = bare_parser(prog, description)
    _add_corpus(result, required=True)
    result.add_argument("--json", action="store_true", help=json_help)
    return result


def door(
    body: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None, *, stage: str
) -> int:
    """Run a door's body; errors become one line and an exit code."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    command = f"{program(stage)} {shlex.join(sys.argv[1:] if argv is None else argv)}"
    try:
        return body(argv)
    except (Interrupted, KeyboardInterrupt) as error:
        if not isinstance(error, Interrupted):
            error = Interrupted(signal.SIGINT)
        print(f"{error}; what is done is kept. Go on with: {command}", file=sys.stderr)
        return error.exit_code
    except WebtextError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except FileNotFoundError:
        raise  # a file of ours that should be there: a defect, to be told with its place
    except OSError as error:
        # A store that stays unreachable, a full or failing disk.
        print(
            f"error: {error}; what is done is kept. Go on with: {command}".replace("\n", " "),
            file=sys.stderr,
        )
        return 1


@dataclass(frozen=True, slots=True)
class Work:
    """An opened corpus, locked batch and running executor."""

    store: Store
    batch: str
    executor: Executor


@contextlib.contextmanager
def work(
    args: argparse.Namespace, what: str, *, create: bool = False, timeout_s: float | None = None
) -> Iterator[Work]:
    """Open the corpus, take the batch's lock, start the executor; signals become `Interrupted`.

    Raises: InputError for a corpus or batch name that cannot be, BusyError when another run works on the batch.
    """
    batch = check_name("--batch", args.batch)
    store = open_corpus(args.corpus, create=create)
    with contextlib.ExitStack() as stack:
        stack.enter_context(hold(store, f"{work_dir(batch)}/lock.json", what=what))
        # The handlers come after the executor: ray.init() installs its own.
        executor = stack.enter_context(
            open_executor(args.executor, args.workers, timeout_s=timeout_s)
        )
        stack.enter_context(interruptible())
        yield Work(store, batch, executor)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise `Interrupted` in the main thread; a second one does not disturb the ending."""

    def stop(number: int, frame: Any) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    try:
        previous = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    except (
        ValueError
    ):  # not the main thread (a test, a notebook): the host program owns its signals
        yield
        return
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def config(model: type[S], stage: str, args: argparse.Namespace) -> S:
    """The door's settings from file, environment and --set."""
    return load_config(model, stage, toml_path=args.config, sets=args.sets, environ=os.environ)


def finish(args: argparse.Namespace, store: Store, stage: str, result: StageResult) -> int:
    """Print the funnel and, with --json, the counts as the last line."""
    print(funnel.text(store, args.batch))
    if result.up_to_date:
        print(f"{stage}: up to date")
    if args.json:
        print(
            json.dumps(
                {
                    "stage": stage,
                    "corpus": args.corpus,
                    "batch": args.batch,
                    "up_to_date": result.up_to_date,
                    "counts": result.counts,
                },
                sort_keys=True,
            )
        )
    return 0


def stage_door(
    stage: str,
    model: type[Section],
    steps: Sequence[AnyStep],
    argv: Sequence[str] | None,
    description: str,
) -> int:
    """The whole door of a stage that is nothing but steps over a batch's tables."""

    def body(arguments: Sequence[str] | None) -> int:
        args = parser(f"{stage}.run", description, model, stage).parse_args(arguments)
        settings = config(model, stage, args)
        with work(args, f"{stage}.run") as opened:
            result = run_stage(opened, stage, settings, steps, rebuild=args.rebuild)
            return finish(args, opened.store, stage, result)

    return door(body, argv, stage=f"{stage}.run")


def run_stage(
    opened: Work,
    stage: str,
    settings: Section,
    steps: Sequence[AnyStep],
    *,
    rebuild: bool,
    files: tuple[str, ...] = (),
    num_parts: int | None = None,
) -> StageResult:
    """`run_steps` on an opened batch, whose number of parts comes from its links."""
    count = (
        num_parts
        if num_parts is not None
        else read_manifest(opened.store, "links", opened.batch).num_parts
    )
    run = Run(
        stage=stage,
        config=settings,
        store=opened.store,
        batch=opened.batch,
        executor=opened.executor,
        num_parts=count,
        files=files,
        rebuild=rebuild,
    )
    return run_steps(run, steps)


def positive(text: str) -> int:
    """An argument's type: a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def _settings_help(model: type[Section], stage: str) -> str:
    lines = ["settings (TOML, WEBTEXT_SECTION__KEY in the environment, or --set; later ones win):"]
    for key, default, meaning in describe(model, stage):
        lines.append(f"  {key} = {default}")
        lines.append(f"      {meaning}")
    return "\n".join(lines)
