"""The parts of the documentation that the code knows best: `docs/settings.md` and the tree in README.md.

`python -m tools.generate_docs` writes them; with `--check` it names what is stale instead and exits 1.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from corpus.config import STAGES, Section, describe
from webtext.refresh import RefreshConfig

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("webtext", "corpus", "crawl", "clean", "dedup", "shards", "train", "bench")
BEGIN, END = "<!-- tree: made by `make docs` -->\n", "<!-- end of tree -->\n"
NAME_WIDTH = 22  # characters before the description


def main(argv: Sequence[str] | None = None) -> int:
    """The door."""
    arguments = sys.argv[1:] if argv is None else argv
    stale = [path for path, text in pages() if not path.is_file() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(REPOSITORY)} is stale: make docs")
        return 1 if stale else 0
    for path, text in pages():
        path.write_text(text)
    return 0


def pages() -> Iterator[tuple[Path, str]]:
    """(path, whole text) of every page with generated parts."""
    yield REPOSITORY / "docs" / "settings.md", settings_page()
    readme = REPOSITORY / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    yield readme, f"{before}{BEGIN}\n{tree()}\n{END}{after}"


def settings_page() -> str:
    """A table per stage of key, default and meaning."""
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
    return "\n".join(lines) + "\n"


def settings(stage: str) -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning) of a stage's settings."""
    if stage == "refresh":
        return describe(RefreshConfig, stage)
    model: type[Section] = getattr(
        importlib.import_module(f"{stage}.config"), f"{stage.capitalize()}Config"
    )
    return describe(model, stage)


def tree() -> str:
    """The packages and their modules, each with the first sentence of its docstring, as an indented code block."""
    lines = []
    for package in PACKAGES:
        lines += list(_folder(REPOSITORY / package, depth=0))
    return "\n".join(f"    {line}".rstrip() for line in lines) + "\n"


def _folder(folder: Path, depth: int) -> Iterator[str]:
    yield _line(f"{folder.name}/", _first_sentence(folder / "__init__.py"), depth)
    for path in sorted(folder.iterdir()):
        if path.suffix == ".py" and path.name not in ("__init__.py", "__main__.py"):
            yield _line(path.name, _first_sentence(path), depth + 1)
    for inner in sorted(folder.iterdir()):
        if (inner / "__init__.py").is_file():
            yield from _folder(inner, depth + 1)


def _line(name: str, meaning: str, depth: int) -> str:
    return f"{'  ' * depth}{name:<{NAME_WIDTH - 2 * depth}} {meaning}"


def _first_sentence(path: Path) -> str:
    """The first line of a module's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0].rstrip(".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    raise SystemExit(main())
