"""Functions of other packages: named by settings, part of the fingerprint, and unable to lose a row."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from clean import plugins
from clean.config import CleanConfig
from clean.document import Document, Dropped, Page, document_function
from clean.plugins import PageText, PluginsConfig
from clean.reasons import Reason
from corpus import plugins as found_plugins
from corpus.errors import InputError
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from tests.support import grown_corpus

ROOT = Path(__file__).parents[2]
HTML = "<html><head><title>A walk</title></head><body><article><p>" + (
    "We walked along the river until the evening, and the owls began to call. " * 12
)


def short(page: PageText) -> str | None:
    """A filter."""
    assert page == PageText(page.text, "http://a.test/x", "A walk", "en")
    return None if "owls" in page.text else "no owl"


def never(page: PageText) -> str | None:
    """A filter that drops all."""
    return "x" * 1000


def wrong(page: PageText) -> bool:
    """A filter with another answer."""
    return True


def failing(page: PageText) -> str | None:
    """A filter with a fault."""
    raise KeyError("of the plugin")


def upper(html: str, url: str) -> str:
    """An extractor."""
    return f"From {url}. " + "ALL THAT THE PAGE SAYS IS WRITTEN HERE IN LARGE LETTERS. " * 10


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["short", "never", "wrong", "failing", "upper"]
    points = [EntryPoint(name, f"{__name__}:{name}", "webtext.filters") for name in names]
    points += [EntryPoint("upper", f"{__name__}:upper", "webtext.extractors")]
    points += [EntryPoint("gone", "no_such_module:judge", "webtext.filters")]
    points += [EntryPoint("twice", f"{__name__}:{name}", "webtext.filters") for name in names[:2]]

    def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
        return [each for each in points if each.group == group and name in (None, each.name)]

    monkeypatch.setattr(found_plugins, "entry_points", entry_points)


def result(*filters: str, extractor: str = "") -> Document | Dropped:
    config = CleanConfig(plugins=PluginsConfig(filters=list(filters), extractor=extractor))
    page = Page("http://a.test/x", "http://a.test/x", "text/html", None, HTML.encode())
    return document_function(config)(page)


def test_filters_are_asked_in_order_and_their_words_are_the_detail() -> None:
    assert isinstance(result("short"), Document)
    dropped = result("short", "never", "failing")
    assert isinstance(dropped, Dropped)
    assert dropped.reason is Reason.PLUGIN
    assert dropped.reason.step == "plugins"
    assert dropped.detail == ("never: " + "x" * 1000)[:200]


def test_an_extractor_of_another_package_gives_the_text() -> None:
    document = result(extractor="upper")
    assert isinstance(document, Document)
    assert document.text.startswith("From http://a.test/x. ALL THAT")
    assert (document.extractor, document.title) == ("upper", "A walk")


def test_faults_of_a_plugin_name_it() -> None:
    with pytest.raises(RuntimeError, match="plugin failing: KeyError: 'of the plugin'"):
        result("failing")
    with pytest.raises(TypeError, match="plugin wrong: returned a bool, expected"):
        result("wrong")
    with pytest.raises(InputError, match=r"no plugin 'shor' .*did you mean short\?"):
        result("shor")
    with pytest.raises(InputError, match="cannot be imported: ModuleNotFoundError"):
        result("gone")
    with pytest.raises(InputError, match="a plugin of several packages"):
        result("twice")
    with pytest.raises(ValueError, match="gives plain text"):
        CleanConfig.model_validate(
            {"extract": {"format": "markdown"}, "plugins": {"extractor": "upper"}}
        )


def test_plugins_are_inputs_of_the_table() -> None:
    found = plugins.inputs(PluginsConfig(filters=["short"], extractor="upper"))
    assert [(each.table, each.batch) for each in found] == [
        ("plugin", "webtext.filters:short"),
        ("plugin", "webtext.extractors:upper"),
    ]
    assert plugins.inputs(PluginsConfig()) == []


@pytest.mark.soak
def test_the_example_package_filters_a_batch_in_the_sandbox(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    # A copy, since building leaves files beside the sources.
    example = shutil.copytree(ROOT / "examples/plugin", tmp_path / "example")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, str(packages), str(example)], check=True)

    kitchen = "Preheat the oven. Two tablespoons of oil and a teaspoon of salt simmer. " * 20
    sites = [*grown_corpus.ordinary(4), grown_corpus.Site("http://food.test/a", kitchen)]
    root = str(tmp_path / "c")
    store = grown_corpus.grow(root, "b", sites, tmp_path)
    assert read_manifest(store, "documents", "b").counts.get("plugin") is None

    words = ["clean", "--corpus", root, "--batch", "b", "--workers", "1", "--rebuild"]
    words += ["--set", 'clean.plugins.filters=["no-recipes"]']
    words += ["--set", "clean.language.min_score=0"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)])}
    subprocess.run([sys.executable, "-m", "webtext", *words], env=environ, check=True)
    manifest = read_manifest(store, "documents", "b")
    assert manifest.counts["plugin"] == 1
    [origin] = [each.fingerprint for each in manifest.inputs if each.table == "plugin"]
    assert origin == "webtext-example-plugin 1.0"
    [dropped] = [
        row
        for row in read_table(store, "documents_dropped", "b").to_pylist()
        if row["reason"] == "plugin"
    ]
    assert dropped["url"] == "http://food.test/a"
    assert dropped["detail"].startswith("no-recipes: ")
