"""Every setting of every stage as Markdown: `python -m corpus.settings` makes docs/settings.md."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence

from corpus.config import STAGES, Section, describe
from corpus.refresh import RefreshConfig


def main(argv: Sequence[str] | None = None) -> int:
    """The door: print the page."""
    print(page())
    return 0


def page() -> str:
    """The page: a table per stage of key, default and meaning."""
    lines = [
        "# Settings",
        "",
        "Made by `make docs` from the code. A setting comes from the first of: `--set KEY=VALUE`, the environment",
        "(`WEBTEXT_` and the key in capitals, dots as `__`), the file of `--config`, the default.",
    ]
    for stage in STAGES:
        lines += ["", f"## {stage}", "", "| key | default | meaning |", "| --- | --- | --- |"]
        lines += [
            f"| `{key}` | `{_cell(default)}` | {_cell(meaning)} |"
            for key, default, meaning in settings(stage)
        ]
    return "\n".join(lines)


def settings(stage: str) -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning) of a stage's settings."""
    if stage == "refresh":
        return describe(RefreshConfig, stage)
    model: type[Section] = getattr(importlib.import_module(f"{stage}.config"), f"{stage.capitalize()}Config")
    return describe(model, stage)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    raise SystemExit(main())
