"""Generates the reference pages of the documentation from the code.

    python -m tools.generate_docs [--out FOLDER]

The folder gets a copy of docs/ and the generated pages: settings, commands, tables and modules.
`make docs` builds the site from there.
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from corpus.config import STAGES, Section, describe
from corpus.run.arguments import command_parser, named_by_index
from corpus.tables.schemas import TABLES
from webtext.commands import GROUPS, PROGRAMS, command_main
from webtext.settings import settings_model

REPOSITORY = Path(__file__).parents[1]
STAGE_PACKAGES = ("crawl", "clean", "dedup", "shards", "train")
PACKAGES = ("webtext", "corpus", *STAGE_PACKAGES, "bench", "examples", "tools")
# A link to a file outside the site.
OUTSIDE = re.compile(r"\[([^\]]*)\]\((\.\./[^)\s]*)\)")


def pages() -> Mapping[str, Callable[[], str]]:
    """Every generated page, by its path below docs/."""
    return {
        "commands.md": commands_page,
        "settings.md": settings_page,
        "tables.md": tables_page,
        "modules.md": modules_page,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sources of the site into a folder: docs/ and the generated pages."""
    parser = argparse.ArgumentParser(prog="tools.generate_docs", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=REPOSITORY / "build" / "docs", help="default: build/docs"
    )
    write(parser.parse_args(argv).out)
    return 0


def write(out: Path) -> None:
    """Copy docs/ to `out` and add the generated pages."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(REPOSITORY / "docs", out)
    for path, text in pages().items():
        (out / path).write_text(text(), "utf-8")

    # The site has no page for a file of the repository: its path is shown instead of a link.
    for path in out.rglob("*.md"):
        path.write_text(OUTSIDE.sub(_path_shown, path.read_text("utf-8")), "utf-8")


def _path_shown(link: re.Match[str]) -> str:
    path = link[2].replace("../", "")
    return link[0] if (REPOSITORY / "docs" / path).exists() else f"{link[1]} (`{path}`)"


def commands_page() -> str:
    """The help of every command, by group."""
    lines = [
        "# Commands",
        "",
        "Every command names the corpus by `--corpus C` or by `WEBTEXT_CORPUS` in the environment.",
        "Stages are `python -m crawl.run` and so on as well.",
    ]

    for group, commands in GROUPS.items():
        lines += ["", f"## {group.capitalize()}"]
        for name, meaning in commands.items():
            with named_by_index(PROGRAMS):
                parser = command_parser(command_main(name))
            parser.epilog = None  # the page of settings has them
            help_text = parser.format_help().rstrip()
            lines += ["", f"### webtext {name}", "", f"Purpose: {meaning}."]
            lines += ["", "```text", help_text, "```"]

    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """A table per stage of key, default and meaning."""
    lines = [
        "# Settings",
        "",
        "A setting comes from the first of: `--set KEY=VALUE`, the environment",
        "(`WEBTEXT_` and the key in capitals, dots as `__`), the file of `--config`, the default.",
        "Common settings are bold.",
    ]

    for stage in STAGES:
        model = config_model(stage)
        lines += ["", f"## {stage}", "", "| key | default | meaning |", "| --- | --- | --- |"]
        for key, default, meaning in describe(model, stage):
            shown = f"`{key}`"
            if key.partition(".")[2] in model.common:
                shown = f"**{shown}**"
            lines.append(f"| {shown} | `{_cell(default)}` | {_cell(meaning)} |")

    return "\n".join(lines) + "\n"


def settings() -> set[str]:
    """The keys of all settings."""
    return {key for stage in STAGES for key, _, _ in describe(config_model(stage), stage)}


def config_model(stage: str) -> type[Section]:
    """The config class of a stage."""
    return settings_model(stage)


def tables_page() -> str:
    """The columns of every table."""
    lines = [
        "# Tables",
        "",
        "`<corpus>/<table>/<batch>/part-*.parquet`, committed by `_manifest.json` beside them.",
        "Rows are joined by `doc_id`, never by position. [Architecture](architecture.md) says",
        "which stage writes which table.",
    ]

    for table in TABLES.values():
        lines += [
            "",
            f"## {table.name}",
            "",
            "| column | type | may be null |",
            "| --- | --- | --- |",
        ]
        lines += [
            f"| `{field.name}` | `{field.type}` | {'yes' if field.nullable else 'no'} |"
            for field in table.schema
        ]

    return "\n".join(lines) + "\n"


def modules_page() -> str:
    """The packages and their modules, each with the first sentence of its docstring."""
    lines = ["# Modules", "", "Every line is the first of the module's own docstring."]
    for package in PACKAGES:
        lines += ["", f"## {package}", "", *_folder(REPOSITORY / package, depth=0)]
    return "\n".join(lines) + "\n"


def _folder(folder: Path, depth: int) -> Iterator[str]:
    yield _line(f"{folder.name}/", _first_sentence(folder / "__init__.py"), depth)

    for path in sorted(folder.iterdir()):
        if path.suffix == ".py" and path.name not in ("__init__.py", "__main__.py"):
            yield _line(path.name, _first_sentence(path), depth + 1)

    for inner in sorted(folder.iterdir()):
        if any(inner.glob("*.py")):
            yield from _folder(inner, depth + 1)


def _line(name: str, meaning: str, depth: int) -> str:
    return f"{'    ' * depth}- `{name}`{': ' if meaning else ''}{meaning}"


def _first_sentence(path: Path) -> str:
    """The first line of a module's docstring, without its full stop."""
    if not path.is_file():
        return ""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return docstring.partition("\n")[0].rstrip(".").replace("<", "&lt;")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


if __name__ == "__main__":
    raise SystemExit(main())
