"""The index of all commands: `webtext COMMAND ...`, also `python -m webtext COMMAND ...`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence

from corpus.errors import InputError
from corpus.run.early_interrupt import end_at_once, raise_again
from webtext.commands import GROUPS, PROGRAMS, command_main

# New objects between two runs of the garbage collector.
GARBAGE_EVERY = 200_000

USAGE = (
    "usage: webtext COMMAND [OPTIONS]; `webtext COMMAND --help` lists the options of one command"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    end_at_once()
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    finally:
        raise_again()


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(index())
        return 0
    if words[0] in ("-V", "--version"):
        from webtext import __version__

        print(f"webtext {__version__}")
        return 0

    try:
        command = _command(words[0])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code

    # Imported late: pydantic would slow `webtext --help` down.
    from corpus.run.arguments import named_by_index

    # Records of a large corpus are many and live to the end: by default the collector walks them
    # again and again (status of 200 batches: 6.5 s of CPU against 2.3 s, with `corpus.bulk`).
    gc.set_threshold(GARBAGE_EVERY)
    with named_by_index(PROGRAMS):
        return command(words[1:])


def _command(name: str) -> Callable[[Sequence[str] | None], int]:
    """A command's `main`. Raises InputError for an unknown name."""
    if name == "completion":  # takes the names of all others, so it is not one of them
        from webtext.completion import main

        return main
    return command_main(name)


def index() -> str:
    """List all commands in their groups."""
    width = max(len(name) for commands in GROUPS.values() for name in commands)
    lines = ["Build your own WebText: from Reddit dumps to a clean corpus and a GPT-2.", "", USAGE]

    for group, commands in GROUPS.items():
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}  {meaning}" for name, meaning in commands.items()]

    lines += ["", "`webtext completion bash|zsh|tcsh` prints a script for completion by the shell."]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
