"""Pages whose main text is known: prose rendered by real site software in its real layouts.

    python -m tools.constructed_pages --prose FILE --out DIR

FILE has one document a line, with `id`, `title` and `text`. The software is found on the PATH:
Sphinx and its themes, MkDocs and its themes, Pelican. What is not installed is left out, with a
message. DIR gets `gold_constructed.jsonl.zst` and `pages_constructed.tar.zst`, as
`tools.fit_extractor` and `bench.clean.documents --constructed DIR` read them. Each layout is a source of
its own, so that a model can be learned from some and judged by others.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

# Themes that Sphinx has, and those that are packages of their own.
SPHINX_THEMES: Final = (
    *("alabaster", "classic", "sphinxdoc", "scrolls", "agogo", "traditional", "nature", "haiku"),
    *(
        "pyramid",
        "bizstyle",
        "furo",
        "sphinx_rtd_theme",
        "pydata_sphinx_theme",
        "sphinx_book_theme",
    ),
)
MKDOCS_THEMES: Final = ("mkdocs", "readthedocs", "material")
PELICAN_THEMES: Final = ("notmyidea", "simple")
MIN_PARAGRAPHS: Final = 6
MIN_WORDS: Final = 15
MAX_PARAGRAPHS: Final = 30
# Signs that markup languages read.
_MARKUP = re.compile(r"[*_`<>|\\#\[\]{}:]|^[-+=~.\d]")


class Article(NamedTuple):
    """A document as it is given to the software."""

    slug: str
    title: str
    paragraphs: list[str]


class Layout(NamedTuple):
    """A layout, and the function that renders articles into a folder and returns their pages."""

    name: str
    render: Callable[[Sequence[Article], Path], dict[str, Path]]


def main(argv: Sequence[str] | None = None) -> int:
    """Render all layouts and write the archives."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.constructed_pages", description="Make pages with a known text."
    )
    parser.add_argument("--prose", type=Path, required=True, help="documents, .jsonl.zst")
    parser.add_argument("--out", type=Path, required=True, help="folder of the archives")
    parser.add_argument("--pages", type=int, default=12, help="pages per layout (default: 12)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    rows: list[dict[str, object]] = []
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, layout in enumerate(layouts()):
            # Every layout has texts of its own.
            found = articles(args.prose, args.pages, skip=number * args.pages)
            with tempfile.TemporaryDirectory() as folder:
                try:
                    pages = layout.render(found, Path(folder))
                except (OSError, subprocess.CalledProcessError) as error:
                    print(f"{layout.name}: not made ({error})", file=sys.stderr)
                    continue
                for article in found:
                    _add(archive, rows, layout.name, article, pages[article.slug].read_bytes())

    lines = "".join(json.dumps(row) + "\n" for row in rows)
    compress = zstandard.ZstdCompressor(10).compress
    (args.out / "gold_constructed.jsonl.zst").write_bytes(compress(lines.encode()))
    (args.out / "pages_constructed.tar.zst").write_bytes(compress(buffer.getvalue()))
    print(f"{len(rows)} pages of {len({row['source'] for row in rows})} layouts in {args.out}")

    return 0


def layouts() -> Iterator[Layout]:
    """All layouts, whether their software is installed or not."""
    for theme in SPHINX_THEMES:
        yield Layout(
            f"sphinx-{theme}", lambda found, folder, theme=theme: sphinx(found, folder, theme)
        )
    for theme in MKDOCS_THEMES:
        yield Layout(
            f"mkdocs-{theme}", lambda found, folder, theme=theme: mkdocs(found, folder, theme)
        )
    for theme in PELICAN_THEMES:
        yield Layout(
            f"pelican-{theme}", lambda found, folder, theme=theme: pelican(found, folder, theme)
        )


def articles(path: Path, count: int, skip: int = 0) -> list[Article]:
    """Documents of plain paragraphs, `skip` of them left out."""
    found: list[Article] = []
    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            paragraphs = [
                " ".join(each.split())
                for each in row["text"].split("\n\n")
                if len(each.split()) >= MIN_WORDS and not _MARKUP.search(each)
            ]
            if len(paragraphs) >= MIN_PARAGRAPHS:
                title = " ".join(re.findall(r"[A-Za-z]+", row["title"])[:8]) or "A page"
                found.append(Article(f"page-{len(found)}", title, paragraphs[:MAX_PARAGRAPHS]))
            if len(found) == skip + count:
                break

    return found[skip:]


def sphinx(found: Sequence[Article], folder: Path, theme: str) -> dict[str, Path]:
    """Pages of a manual."""
    source = folder / "source"
    source.mkdir()
    (source / "conf.py").write_text(f"project = 'The handbook'\nhtml_theme = {theme!r}\n")
    names = "".join(f"   {each.slug}\n" for each in found)
    (source / "index.rst").write_text(f"The handbook\n============\n\n.. toctree::\n\n{names}")
    for each in found:
        text = [each.title, "=" * len(each.title), *_with_headings(each, "{}\n" + "-" * 60)]
        (source / f"{each.slug}.rst").write_text("\n\n".join(text).replace("\n\n=", "\n=", 1))

    _run(["sphinx-build", "-q", "-b", "html", str(source), str(folder / "out")])
    return {each.slug: folder / "out" / f"{each.slug}.html" for each in found}


def mkdocs(found: Sequence[Article], folder: Path, theme: str) -> dict[str, Path]:
    """Pages of a project's documentation."""
    (folder / "docs").mkdir()
    (folder / "mkdocs.yml").write_text(f"site_name: The handbook\ntheme:\n  name: {theme}\n")
    (folder / "docs" / "index.md").write_text("# The handbook\n")
    for each in found:
        text = [f"# {each.title}", *_with_headings(each, "## {}")]
        (folder / "docs" / f"{each.slug}.md").write_text("\n\n".join(text))

    _run(["mkdocs", "build", "-q", "-f", str(folder / "mkdocs.yml"), "-d", str(folder / "out")])
    return {each.slug: folder / "out" / each.slug / "index.html" for each in found}


def pelican(found: Sequence[Article], folder: Path, theme: str) -> dict[str, Path]:
    """Posts of a blog, with categories, authors and links."""
    content = folder / "content"
    content.mkdir()
    (folder / "pelicanconf.py").write_text(
        f"SITENAME = 'The weekly'\nSITEURL = ''\nTIMEZONE = 'UTC'\nDEFAULT_LANG = 'en'\nTHEME = {theme!r}\n"
        "LINKS = (('Python', 'https://python.example/'),)\nSOCIAL = (('A network', '#'),)\n"
    )
    for number, each in enumerate(found):
        head = (
            f"Title: {each.title}\nDate: 2026-01-{number % 28 + 1:02}\nCategory: Town\n"
            f"Author: Ann Miller\nTags: river, bridge\nSlug: {each.slug}"
        )
        text = [head, *_with_headings(each, "## {}")]
        (content / f"{each.slug}.md").write_text("\n\n".join(text))

    settings = str(folder / "pelicanconf.py")
    _run(["pelican", str(content), "-o", str(folder / "out"), "-s", settings, "-q"])
    return {each.slug: folder / "out" / f"{each.slug}.html" for each in found}


def _with_headings(article: Article, form: str) -> Iterator[str]:
    """The paragraphs with a heading before each fifth one."""
    for number, paragraph in enumerate(article.paragraphs):
        if number and number % 5 == 0:
            words = [word for word in paragraph.split() if word.isalpha()][:4]
            yield form.format(" ".join(words).capitalize())
        yield paragraph


def _run(command: list[str]) -> None:
    """Run a program. Raises OSError if there is none of that name, or CalledProcessError."""
    if shutil.which(command[0]) is None:
        raise OSError(f"{command[0]} is not installed")
    subprocess.run(command, check=True, capture_output=True)


def _add(
    archive: tarfile.TarFile,
    rows: list[dict[str, object]],
    layout: str,
    article: Article,
    body: bytes,
) -> None:
    name = f"{layout}-{article.slug}"
    entry = tarfile.TarInfo(f"pages/{name}.html")
    entry.size = len(body)
    archive.addfile(entry, io.BytesIO(body))
    rows.append(
        {
            "id": name,
            "source": layout,
            "domain": f"{layout}.example",
            "kind": "full",
            "file": entry.name,
            "text": "\n\n".join(_with_headings(article, "{}")),
        }
    )


if __name__ == "__main__":
    raise SystemExit(main())
