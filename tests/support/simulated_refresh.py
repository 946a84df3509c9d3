"""A refresh whose crawl answers from a made web, month by month; run as a program it can be killed like any other.

python tests/support/simulated_refresh.py CONFIG.toml WEB.json
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from corpus.storage.store import open_store
from corpus.tables.manifest import find_manifest
from crawl import run as crawl_run
from tests.support import grown_corpus
from webtext import stages
from webtext.upkeep import refresh


def main(argv: Sequence[str]) -> int:
    """The refresh of CONFIG, with the web of WEB in the place of the network."""
    config, web = argv[0], read_web(Path(argv[1]))
    return refresh_with(web)(["--config", config, "--executor", "serial", *argv[2:]])


def refresh_with(web: Sequence[grown_corpus.Site]) -> Callable[[Sequence[str]], int]:
    """`webtext.refresh.main` with pages from `web`."""

    def crawl(words: Sequence[str]) -> int:
        code = crawl_run.main([*words, "--only", "links"])
        batch, store = (
            words[words.index("--batch") + 1],
            open_store(words[words.index("--corpus") + 1]),
        )
        if code == 0 and find_manifest(store, "pages", batch) is None:
            grown_corpus.fetch(store, batch, web)
        return code

    def stage_main(stage: str) -> Callable[[Sequence[str]], int]:
        return crawl if stage == "crawl" else stages.stage_main(stage)

    def run(words: Sequence[str]) -> int:
        real = refresh.stage_main
        refresh.stage_main = stage_main  # type: ignore[assignment]
        try:
            return refresh.main(words)
        finally:
            refresh.stage_main = real

    return run


def write_web(path: Path, web: Sequence[grown_corpus.Site]) -> Path:
    """The web as a file for another process."""
    path.write_text(json.dumps([dataclasses.asdict(site) for site in web]))
    return path


def read_web(path: Path) -> list[grown_corpus.Site]:
    """The same back."""
    made: list[dict[str, Any]] = json.loads(path.read_text())
    return [grown_corpus.Site(**{**site, "hops": tuple(site["hops"])}) for site in made]


def write_config(path: Path, corpus: str, dumps: Path, *settings: str) -> Path:
    """A config file for `corpus` with the settings of `grown`."""
    lines: dict[str, list[str]] = {
        "refresh": [f'corpus = "{corpus}"', f'dumps = "{dumps}/RS_*.zst"', "report = false"]
    }
    for setting in (*grown_corpus.SETTINGS, *settings):
        key, _, value = setting.partition("=")
        section, _, name = key.rpartition(".")
        quoted = (
            value if value[:1] in '[{"0123456789' or value in ("true", "false") else f'"{value}"'
        )
        lines.setdefault(section, [])
        lines[section] = [line for line in lines[section] if not line.startswith(f"{name} =")] + [
            f"{name} = {quoted}"
        ]
    path.write_text(
        "".join(f"[{section}]\n" + "\n".join(body) + "\n\n" for section, body in lines.items())
    )
    return path


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
