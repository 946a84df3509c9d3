"""Write a batch's captures for the tools of web archives.

    webtext captures --corpus C --batch B --to B.wacz
    webtext captures --corpus C --batch B --to B.cdxj

A WACZ package holds the WARC segments, their index and a list of pages in one file; ReplayWeb.page
and pywb replay it. A CDXJ index lists every stored answer: put it beside copies of the segments
(`C/warc/B/`) in a collection of pywb. Both hold what the corpus holds now: write them again after
a take-down.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from corpus.errors import FatalError, InputError
from corpus.run import command
from corpus.storage.store import Store, check_name, open_corpus
from corpus.tables.manifest import read_manifest
from webtext.captures.cdxj import index_lines
from webtext.captures.wacz import write_wacz
from webtext.captures.whole_file import appearing

ENDINGS = (".wacz", ".cdxj")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.captures")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    path = Path(args.to)
    if path.suffix not in ENDINGS:
        raise InputError(f"--to {path}: expected a file that ends in {' or '.join(ENDINGS)}")
    if path.exists():
        raise InputError(f"--to {path}: exists; name another file, or remove it")
    store = open_corpus(args.corpus)
    batch = check_name("--batch", args.batch)
    read_manifest(store, "pages", batch)  # refuses a batch without pages

    try:
        counts = (
            write_wacz(store, batch, path, title=args.title or f"webtext {batch}")
            if path.suffix == ".wacz"
            else _write_index(store, batch, path)
        )
    except OSError as error:
        raise FatalError(f"--to {path}: {error}; free space or name another place") from error

    print(f"{path}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    if args.json:
        print(json.dumps({"to": str(path), "batch": batch, **counts}))
    return 0


def _write_index(store: Store, batch: str, path: Path) -> dict[str, int]:
    count = 0
    with appearing(path) as partial, partial.open("w", encoding="utf-8") as stream:
        for line in index_lines(store, batch):
            stream.write(line + "\n")
            count += 1
    return {"captures": count}


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.captures", __doc__ or "")
    parser.add_argument("--batch", required=True, metavar="B", help="the batch")
    parser.add_argument("--to", required=True, metavar="FILE", help="a file FILE.wacz or FILE.cdxj")
    parser.add_argument("--title", metavar="TEXT", help="the package's title")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
