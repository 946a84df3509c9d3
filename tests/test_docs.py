"""The documentation agrees with the code: generated parts are fresh, links lead somewhere, doors and settings exist."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from corpus.config import STAGES, load_config
from corpus.run.arguments import command_parser
from tools import draw_pictures, generate_docs
from webtext import init
from webtext.commands import GROUPS, command_main
from webtext.settings import settings_model

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RECIPES = sorted((ROOT / "webtext" / "recipes").glob("*.toml"))


def test_pictures_are_fresh() -> None:
    for path, picture in draw_pictures.pictures():
        assert path.read_text() == picture, f"{path.name} is stale: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target and target not in generate_docs.pages():
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_doors_that_pages_name_exist(page: Path) -> None:
    for name in set(
        re.findall(
            r"python -m ((?:corpus|crawl|clean|dedup|shards|train|bench)[\w.]*\w)", page.read_text()
        )
    ):
        assert importlib.util.find_spec(name) is not None, f"{page.name} names python -m {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_pages_name_exist(page: Path) -> None:
    """Lines of code and inline code that begin with `webtext NAME`."""
    known = {name for group in GROUPS.values() for name in group} | {"completion"}
    code = re.findall(
        r"```\w*\n(.*?)```|^ {4}(.*?)$|`([^`\n]+)`", page.read_text(), re.DOTALL | re.MULTILINE
    )
    lines = "\n".join("\n".join(part) for part in code)
    for name in set(re.findall(r"(?:^|-- )webtext +([a-z][\w-]*)", lines, re.MULTILINE)):
        assert name in known, f"{page.name} names webtext {name}"


def documented_commands(page: Path) -> list[str]:
    """Lines of code that begin with `webtext NAME`, without their remarks."""
    text = page.read_text()
    fenced = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    indented = re.findall(r"^ {4}(webtext .*)$", text, re.MULTILINE)
    # Remarks follow a hash in the one, three spaces in the other.
    lines = [
        *re.findall(r"^(webtext .*)$", fenced, re.MULTILINE),
        *(re.split(r" {3,}", line)[0] for line in indented),
    ]
    return [line for line in lines if "..." not in line.partition("#")[0]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_pages_are_accepted_by_their_parsers(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBTEXT_CORPUS", "c")
    for line in documented_commands(page):
        # What is optional is written in brackets.
        plain = re.sub(r"\[(--\w.*?)\](?=\s|$)", r"\1", line)
        name, *words = shlex.split(plain, comments=True)[1:]
        if name not in ("demo", "completion") and words[:1] != ["audit"]:
            command_parser(command_main(name)).parse_args(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_pages_name_exist(page: Path) -> None:
    known = generate_docs.settings()
    for name in set(
        re.findall(
            r"--set '?((?:crawl|clean|dedup|shards|train|refresh)\.[\w.]+)=", page.read_text()
        )
    ):
        assert name in known, f"{page.name} sets {name}"


def test_messages_that_operations_explains_exist() -> None:
    """The first column of its table of troubles quotes the doors."""
    table = (
        (ROOT / "docs" / "operations.md")
        .read_text()
        .partition("| what is seen |")[2]
        .partition("\n\n")[0]
    )
    quoted = [
        words for words in re.findall(r"^\| `([^`]+)`", table, flags=re.MULTILINE) if " " in words
    ]
    source = "".join(
        path.read_text()
        for package in ("webtext", "corpus")
        for path in (ROOT / package).rglob("*.py")
    )
    assert quoted
    assert [words for words in quoted if words not in source] == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipes_load(recipe: Path) -> None:
    document = tomllib.loads(recipe.read_text())
    for stage in STAGES:
        if stage == "refresh" and stage not in document:
            continue
        config = load_config(settings_model(stage), stage, toml_path=str(recipe), environ={})
        for key, value in document.get(stage, {}).items():
            if not isinstance(value, dict):
                assert getattr(config, key) == value


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipes_are_used_as_their_comments_say(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init.main([recipe.stem]) == 0
    for line in recipe.read_text().splitlines():
        if line.startswith("#   webtext init"):
            assert init.main(line.split()[3:]) == 0
    assert init.main([recipe.stem]) == 2


def test_every_decision_is_a_page_with_a_date_and_in_the_index_once() -> None:
    index = (ROOT / "docs/decisions.md").read_text()
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert pages
    for number, page in enumerate(pages, 1):
        assert page.name.startswith(f"{number:04}-"), f"{page.name}: numbers have no gap"
        first, _, second = page.read_text().splitlines()[:3]
        assert first.startswith(f"# {number}. "), page.name
        assert re.match(r"Date: \d{4}-\d\d-\d\d\. Area: ", second), page.name
        assert index.count(f"(decisions/{page.name})") == 1, page.name
