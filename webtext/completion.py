"""Shell completion for `webtext`: prints a script to complete commands, options and files.

    webtext completion bash > ~/.local/share/bash-completion/completions/webtext
    webtext completion zsh > ~/.zfunc/_webtext

The script is static, so a completion starts no Python. Print it again after an update.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence

from corpus.errors import InputError
from corpus.run.arguments import bare_parser, command_parser, named_by_index
from corpus.run.command import run_command
from webtext.commands import GROUPS, PROGRAMS, command_main

# Metavars of options taking a path, such as FILE.toml and [NAME=]FILE.
PATHS = re.compile(r"(\[NAME=\])?FILE(\.\w+)?|FOLDER|DIR|C")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_main, argv, stage="webtext.completion")


def _main(argv: Sequence[str] | None) -> int:
    try:
        import shtab
    except ImportError as error:
        raise InputError("webtext completion needs shtab; run `pip install shtab`") from error

    parser = bare_parser("webtext.completion", __doc__ or "")
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="the shell to complete for")
    args = parser.parse_args(argv)

    print(shtab.complete(_whole(shtab.FILE), shell=args.shell))

    return 0


def _whole(complete_files: Mapping[str, str]) -> argparse.ArgumentParser:
    """Build one parser with a subparser per command. Without its extra a command has no options."""
    whole = argparse.ArgumentParser(prog="webtext")
    whole.add_argument("--version", action="version")
    commands = whole.add_subparsers()

    for group in GROUPS.values():
        for name, meaning in group.items():
            parents = []
            try:
                with named_by_index(PROGRAMS):
                    parents.append(command_parser(command_main(name)))
            except InputError as error:
                print(f"{name}: options are left out: {error}", file=sys.stderr)
            command = commands.add_parser(name, help=meaning, parents=parents, add_help=not parents)
            _complete_files(command, complete_files)

    return whole


def _complete_files(parser: argparse.ArgumentParser, complete: Mapping[str, str]) -> None:
    # shtab documents `complete` as an attribute of the action; argparse has no public list of them.
    for action in parser._actions:
        if isinstance(action.metavar, str) and PATHS.fullmatch(action.metavar):
            action.complete = complete  # type: ignore[attr-defined]


if __name__ == "__main__":
    raise SystemExit(main())
