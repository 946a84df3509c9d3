"""Start a corpus and write the settings that all of its batches share.

    webtext init --corpus C --set clean.quality.preset=fineweb
    webtext init --corpus C --config settings.toml

The settings are checked and written to `C/webtext.toml`. Every command on the corpus reads them
from there; --config, the environment and --set have precedence. Given again, further settings are
added. Settings that run commands, send data or open private networks are not kept in a corpus.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from corpus.config import CORPUS_SETTINGS, STAGES, given_settings, load_config, to_toml
from corpus.run import command
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
    parser = command.corpus_parser("webtext.init", __doc__ or "")
    parser.add_argument("--config", metavar="FILE.toml", help="settings of all stages")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="section.key=value",
        dest="sets",
        help="one setting; may be repeated",
    )
    args = parser.parse_args(argv)

    store = open_corpus(args.corpus, create=True)
    settings = add_settings(store, toml_path=args.config, sets=args.sets)
    print(
        f"{store.root}/{CORPUS_SETTINGS}:\n{to_toml(settings) or '(no settings; defaults)'}".rstrip()
    )
    if args.json:
        print(json.dumps({"corpus": args.corpus, "settings": settings}, sort_keys=True))
    return 0


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
