"""Start a corpus and write the settings that all of its batches share.

    webtext init RECIPE --to settings.toml
    webtext init --corpus C --config settings.toml
    webtext init --corpus C --set clean.quality.preset=fineweb

A recipe is commented settings for a purpose, to be changed and then used. With a corpus, settings
are checked and written to `C/webtext.toml`. Every command on the corpus reads them from there;
--config, the environment and --set have precedence. Given again, further settings are added.
Settings that run commands, send data or open private networks are not kept in a corpus.
"""

from __future__ import annotations

import argparse
import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from corpus.config import CORPUS_SETTINGS, STAGES, given_settings, load_config, to_toml
from corpus.errors import InputError
from corpus.run import command
from corpus.run.arguments import add_settings as add_settings_options
from corpus.storage.store import Store, open_corpus
from webtext.settings import settings_model

HEADER = """\
# Settings of this corpus, shared by all of its batches. Written by `webtext init`.
# Precedence: defaults < this file < --config < WEBTEXT_SECTION__KEY in the environment < --set.

"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.init")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    if args.recipe is not None:
        if args.config or args.sets:
            raise InputError("a recipe is written as it is: leave --config and --set out")
        written = write_recipe(args.recipe, Path(args.to or f"{args.recipe}.toml"))
        print(f"wrote {' and '.join(map(str, written))}; read the comments, then use it")
        return 0

    if args.corpus is None or args.to:
        raise InputError(f"expected --corpus C, or one of the recipes {', '.join(recipes())}")
    store = open_corpus(args.corpus, create=True)
    settings = add_settings(store, toml_path=args.config, sets=args.sets)
    print(
        f"{store.root}/{CORPUS_SETTINGS}:\n{to_toml(settings) or '(no settings; defaults)'}".rstrip()
    )
    if args.json:
        print(json.dumps({"corpus": args.corpus, "settings": settings}, sort_keys=True))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.init", __doc__ or "", corpus_required=False)
    parser.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help=f"one of {', '.join(recipes())}"
    )
    parser.add_argument(
        "--to", metavar="FILE.toml", help="where the recipe is written (default: RECIPE.toml)"
    )
    add_settings_options(parser)
    return parser


def recipes() -> list[str]:
    """The names of all recipes."""
    folder = resources.files("webtext.recipes")
    return sorted(each.name[:-5] for each in folder.iterdir() if each.name.endswith(".toml"))


def write_recipe(name: str, path: Path) -> list[Path]:
    """Write a recipe to `path` and its lists beside it; return their paths.

    Raises: InputError for an unknown recipe, and for an existing file.
    """
    if name not in recipes():
        near = difflib.get_close_matches(name, recipes(), n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"no recipe {name!r}; {meant}there are {', '.join(recipes())}")
    folder = resources.files("webtext.recipes")
    text = folder.joinpath(f"{name}.toml").read_text("utf-8")
    files = {path: text}
    files |= {
        path.parent / each.name: each.read_text("utf-8")
        for each in folder.iterdir()
        if each.name.endswith(".txt") and each.name in text
    }

    if taken := [each for each in files if each.exists()]:
        raise InputError(f"{taken[0]}: exists; name another file with --to, or remove it")
    for each, content in files.items():
        try:
            each.write_text(content, "utf-8")
        except OSError as error:
            raise InputError(f"--to {each}: {error.strerror}; name a writable place") from error
    return list(files)


def add_settings(
    store: Store, *, toml_path: str | None = None, sets: Sequence[str] = ()
) -> dict[str, Any]:
    """Add settings to the corpus's own and return all of them. Raises ConfigError for bad ones."""
    present = command.corpus_settings(store.root)
    settings: dict[str, Any] = tomllib.loads(present) if present is not None else {}
    for stage in STAGES:
        given = given_settings(stage, toml_path=toml_path, sets=sets)
        if given:
            settings[stage] = _merged(settings.get(stage, {}), given)

    text = HEADER + to_toml(settings)
    for stage in settings:
        # Where dumps come from is not known here, and not kept here either.
        sets = ["refresh.corpus='x'", "refresh.dumps='x'"] if stage == "refresh" else []
        load_config(settings_model(stage), stage, corpus_toml=text, sets=sets)
    store.write_bytes(CORPUS_SETTINGS, text.encode())
    return settings


def _merged(present: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(present)
    for key, each in given.items():
        value = each
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            value = _merged(old, value)
        result[key] = value
    return result


if __name__ == "__main__":
    raise SystemExit(main())
