"""Arguments of the commands: parsers with common options, and names of programs."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, NoReturn

from corpus.config import Section, describe
from corpus.durations import parse_duration
from corpus.errors import InputError

Main = Callable[[Sequence[str] | None], int]

# The environment variable that names the corpus when --corpus is left out.
CORPUS_VARIABLE = "WEBTEXT_CORPUS"

_index_names: ContextVar[Mapping[str, str] | None] = ContextVar("_index_names", default=None)
_hands_over: ContextVar[bool] = ContextVar("_hands_over", default=False)
# An epilog that is written when help is shown: the settings' meanings are read from source files.
_LATER = "settings"


class _Parser(argparse.ArgumentParser):
    """Reports wrong use in one line, like every other error."""

    settings_help: Callable[[], str] | None = None

    def format_help(self) -> str:
        if self.epilog is _LATER and self.settings_help is not None:
            self.epilog = self.settings_help()
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}{self._advice(message)}; see --help")

    def _advice(self, message: str) -> str:
        """The next thing to type, for the mistakes of a first hour."""
        kind, _, rest = message.partition(": ")
        if kind == "the following arguments are required" and "--corpus" in rest.split(", "):
            return f"; name the corpus with --corpus C, or once with `export {CORPUS_VARIABLE}=C`"
        if kind == "unrecognized arguments" and rest.startswith("--"):
            word = rest.split()[0].partition("=")[0]
            near = difflib.get_close_matches(word, self._option_string_actions, n=1)
            return f"; did you mean {near[0]}?" if near else ""
        return ""

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        if _hands_over.get():
            raise _Handover(self)
        return super().parse_args(*args, **kwargs)


class _Handover(BaseException):
    """Carries a command's parser to `command_parser`, past every handler of errors."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def command_parser(main: Main) -> argparse.ArgumentParser:
    """Return a command's parser without running the command."""
    token = _hands_over.set(True)
    try:
        main([])
    except _Handover as handover:
        return handover.parser
    finally:
        _hands_over.reset(token)

    raise TypeError(f"{main.__module__}.main parses no arguments")


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
    """Create a parser with the shared options of a command.

    A command with a `model` has settings and --rebuild. It has --workers and --executor as well,
    unless `tasks` is false because it starts its processes in another way.
    """
    result = bare_parser(prog, description)
    _add_corpus(result, required=corpus_required)
    if batch:
        result.add_argument(
            "--batch", required=True, metavar="B", help="the increment's name, such as 2024-01"
        )

    if model is not None:
        _add_settings_help(result, model, stage)
        add_settings(result)
        if tasks:
            _add_tasks(result)
        result.add_argument(
            "--rebuild", action="store_true", help="replace tables built with other settings"
        )

    _add_json(result, "end with one line of JSON on stdout")
    return result


def bare_parser(prog: str, description: str) -> _Parser:
    """Create a parser without options. It reports wrong use in one line."""
    return _Parser(
        prog=program(prog),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def corpus_parser(
    prog: str,
    description: str,
    *,
    json_help: str = "end with one line of JSON on stdout",
    corpus_required: bool = True,
) -> argparse.ArgumentParser:
    """Create the parser of a command over a whole corpus, with `--corpus` and `--json`."""
    result = bare_parser(prog, description)
    _add_corpus(result, required=corpus_required)
    _add_json(result, json_help)
    return result


def add_run_options(result: argparse.ArgumentParser) -> None:
    """Add the options passed on to stages."""
    add_settings(result)
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


def _add_json(result: argparse.ArgumentParser, meaning: str) -> None:
    result.add_argument("--json", action="store_true", help=meaning)


def add_settings(result: argparse.ArgumentParser) -> None:
    """Add `--config` and `--set`."""
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
        "-v", "--verbose", action="store_true", help="show every step with its internal name"
    )
    result.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="tasks at the same time (default: one per core)",
    )

    result.add_argument(
        "--wait",
        type=_duration,
        default=0.0,
        metavar="DURATION",
        help="wait so long (such as 5m) for a run that holds the batch, instead of ending at once",
    )
    result.add_argument(
        "--executor",
        choices=("auto", "serial", "pool", "ray"),
        default="auto",
        help=(
            "where tasks run (default: auto: ray when RAY_ADDRESS is set, else pool, "
            "or serial with --workers 1 and for dedup and shards of few documents)"
        ),
    )


def _add_settings_help(result: _Parser, model: type[Section], stage: str) -> None:
    """List the common settings below --help, and all of them below --help-all."""
    result.epilog = _LATER
    result.settings_help = partial(_settings_help, model, stage, only=model.common)
    result.add_argument(
        "--help-all",
        action=_HelpAll,
        nargs=0,
        default=argparse.SUPPRESS,
        epilog=partial(_settings_help, model, stage),
        help="show this help with every setting and exit",
    )


class _HelpAll(argparse.Action):
    """Prints the help with another epilog and exits."""

    def __init__(self, *args: Any, epilog: Callable[[], str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._epilog = epilog

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.epilog = self._epilog()
        parser.print_help()
        parser.exit()


def _settings_help(model: type[Section], stage: str, only: frozenset[str] | None = None) -> str:
    """The settings with defaults and meanings, one below the other: those of `only`, or all."""
    title = "settings" if only is None else "common settings"
    lines = [f"{title} (TOML, WEBTEXT_SECTION__KEY in the environment, or --set; later ones win):"]
    left_out = 0

    for key, default, meaning in describe(model, stage):
        if only is not None and key.partition(".")[2] not in only:
            left_out += 1
            continue
        lines += [f"  {key} = {default}", f"      {meaning}"]

    if left_out:
        lines.append(f"{left_out} more: --help-all")
    return "\n".join(lines)


def positive(text: str) -> int:
    """Parse a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def program(name: str) -> str:
    """The command line that starts a program.

    Commands over a whole corpus are `webtext NAME`. The others are `python -m NAME`, unless the
    index of commands started them: then `crawl.run` is `webtext crawl`.
    """
    package, _, rest = name.partition(".")
    if package == "webtext":
        return f"webtext {rest}"

    return (_index_names.get() or {}).get(name, f"python -m {name}")


@contextlib.contextmanager
def named_by_index(names: Mapping[str, str]) -> Iterator[None]:
    """Name programs as the index of commands does (module to command line) inside the block."""
    token = _index_names.set(names)
    try:
        yield
    finally:
        _index_names.reset(token)
