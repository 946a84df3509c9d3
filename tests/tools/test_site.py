"""The documentation site builds without a warning, and every page has its place in the navigation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import generate_docs

ROOT = Path(__file__).parents[2]
pytest.importorskip("mkdocs")


def places(navigation: Any) -> list[str]:
    """Every page that the navigation names."""
    if isinstance(navigation, str):
        return [navigation]
    entries = navigation.values() if isinstance(navigation, dict) else navigation
    return [page for entry in entries for page in places(entry)]


def configured() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    return found


def test_every_page_is_in_the_navigation_once() -> None:
    named = places(configured()["nav"])
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} | set(generate_docs.pages())
    assert sorted(named) == sorted(set(named))
    assert {name for name in named if "/" not in name} == pages


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The sources of the site, with a configuration that builds them below `tmp_path`."""
    generate_docs.write(tmp_path / "docs")
    config = configured() | {"docs_dir": "docs", "site_dir": str(tmp_path / "site")}
    config["plugins"][1]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT)]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    return tmp_path


def build(site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build"]
    return subprocess.run(command, cwd=site, capture_output=True, text=True, check=False)


def test_the_site_builds_strictly(site: Path) -> None:
    done = build(site)
    assert done.returncode == 0, done.stderr
    assert "open_split" in (site / "site/api/index.html").read_text()
    assert "dedup.threshold" in (site / "site/settings/index.html").read_text()
    assert "webtext verify" in (site / "site/commands/index.html").read_text()


def test_dead_links_fail_the_build(site: Path) -> None:
    """Of a page, a heading and a picture, each named. One build: it takes some seconds."""
    dead = {
        "gpu": "[x](nowhere.md)",
        "shards": "[x](tour.md#nowhere)",
        "train": "![x](nowhere.svg)",
    }
    for name, link in dead.items():
        with (site / f"docs/{name}.md").open("a") as page:
            page.write(f"\n\n{link}\n")
    done = build(site)
    assert done.returncode != 0
    for name, target in (("gpu", "nowhere.md"), ("shards", "#nowhere"), ("train", "nowhere.svg")):
        lines = [line for line in done.stderr.splitlines() if f"{name}.md" in line]
        assert any(target in line for line in lines), (name, done.stderr)
