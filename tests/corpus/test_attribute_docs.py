"""Meanings of settings, read from the source of their classes."""

from __future__ import annotations

import subprocess
import sys

from corpus.attribute_docs import attribute_docs


class Base:
    first: int = 1
    """The first."""
    bare: int = 2
    other: int = 3
    """Two
    lines.
    """


class Derived(Base):
    """A docstring of the class itself."""

    bare: int = 4
    """Now told."""

    class Inner:
        bare: str = ""
        """Within."""

    def method(self) -> None:
        """Not of an attribute."""


def test_docs_are_those_below_annotated_attributes_of_the_class_and_its_bases() -> None:
    assert attribute_docs(Base) == {"first": "The first.", "other": "Two\nlines."}
    assert attribute_docs(Derived) == attribute_docs(Base) | {"bare": "Now told."}
    assert attribute_docs(Derived.Inner) == {"bare": "Within."}


def test_classes_within_functions_have_docs_and_classes_without_source_have_none() -> None:
    class Local:
        size: int = 0
        """Bytes."""

    assert attribute_docs(Local) == {"size": "Bytes."}
    assert attribute_docs(type("Made", (), {"__annotations__": {"size": int}})) == {}


def test_commands_start_without_what_they_do_not_use() -> None:
    """Each of these takes .2 to .6 s of every command."""
    unused = {"aiohttp", "awkward", "pandas", "tokenizers", "trafilatura", "scrapy"}
    stages = "crawl.run, clean.run, dedup.run, shards.run"
    script = f"import sys, {stages}; print(*sorted({unused} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE)
    assert done.stdout.split() == []
