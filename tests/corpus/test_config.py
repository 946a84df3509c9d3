"""Precedence of settings, and what is refused."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from corpus.config import Section, _explain, describe, load_config, to_toml, toml_value
from corpus.errors import ConfigError


class Inner(Section):
    retired = {"width": "sizes are multiples of 8"}
    size: int = Field(4, ge=1)
    """Size, bytes."""
    names: list[str] = []
    """Names."""
    table: dict[str, str] = {}
    """Pairs."""


class Outer(Section):
    retired = {"pace": "it is measured"}
    inner: Inner = Inner()
    """Inner settings."""
    rate: float = 0.5
    """Rate, per second."""


class Needs(Section):
    where: str
    """Where."""


def test_a_setting_without_default_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="dedup.where is not set .* add --set dedup.where="):
        load_config(Needs, "dedup", environ={})
    assert [default for _, default, _ in describe(Needs, "dedup")] == ["required"]


def load(**given: object) -> Outer:
    return load_config(Outer, "dedup", **given)  # type: ignore[arg-type]


@given(st.sets(st.sampled_from(["toml", "environment", "set"])))
def test_later_sources_win(tmp_path_factory: pytest.TempPathFactory, sources: set[str]) -> None:
    path = tmp_path_factory.mktemp("c") / "c.toml"
    path.write_text("[dedup.inner]\nsize = 10\n[train]\nanything = 1\n")
    config = load(
        toml_path=str(path) if "toml" in sources else None,
        environ={"WEBTEXT_DEDUP__INNER__SIZE": "20"} if "environment" in sources else {},
        sets=["dedup.inner.size=30"] if "set" in sources else [],
    )
    expected = {"toml": 10, "environment": 20, "set": 30}
    assert config.inner.size == max((expected[source] for source in sources), default=4)


def test_values_are_toml_else_text() -> None:
    config = load(
        sets=[
            'dedup.inner.names=["a", "b.c"]',
            'dedup.inner.table={"*.test" = "127.0.0.1:80"}',
            "dedup.rate=1e-3",
        ]
    )
    assert config.inner.names == ["a", "b.c"]
    assert config.inner.table == {"*.test": "127.0.0.1:80"}
    assert config.rate == 1e-3


def test_settings_of_other_stages_are_passed_over() -> None:
    assert load(sets=["train.model.preset=tiny"]) == Outer()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"sets": ["dedup.inner.sise=3"]},
            r"unknown setting dedup.inner.sise; known: dedup.inner.size",
        ),
        (
            {"sets": ["dedup.inner.zzz=3"]},
            r"unknown setting dedup.inner.zzz; known: dedup.inner.size, .*all: --help",
        ),
        ({"sets": ["dedup.inner.size=0"]}, r"dedup.inner.size = 0: .*greater than or equal to 1"),
        ({"sets": ["dedup.inner.size=big"]}, r"dedup.inner.size = 'big': .*integer"),
        ({"sets": ["dedupe.threshold=1"]}, r"must begin with one of crawl, clean, dedup"),
        ({"sets": ["dedup.rate"]}, r"expected section.key=value"),
        ({"environ": {"WEBTEXT_DEDUP__RATE": "fast"}}, r"dedup.rate = 'fast'"),
        ({"sets": ["dedup.rate=inf"]}, r"dedup.rate = inf: .*finite"),
        ({"sets": ["dedup.rate=nan"]}, r"dedup.rate = nan: .*finite"),
        ({"toml_path": "/no/such.toml"}, r"/no/such.toml: No such file"),
    ],
)
def test_refused_with_key_value_and_what_is_allowed(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(**given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[dedupe]\nx = 1\n", r"unknown section \[dedupe\]"),
        ("dedup = 3\n", "expected a section"),
        ("a = [", "not TOML"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(toml_path=str(path))


def test_help_lists_every_setting_with_default_and_meaning() -> None:
    assert list(describe(Outer, "dedup")) == [
        ("dedup.inner.size", "4", "Size, bytes."),
        ("dedup.inner.names", "[]", "Names."),
        ("dedup.inner.table", "{}", "Pairs."),
        ("dedup.rate", "0.5", "Rate, per second."),
    ]


@pytest.mark.parametrize(
    ("key", "reason"),
    [("dedup.pace", "it is measured"), ("dedup.inner.width", "sizes are multiples of 8")],
)
def test_a_former_setting_is_refused_with_what_holds_now(
    tmp_path: Path, key: str, reason: str
) -> None:
    message = f"{key} is no longer a setting: {reason}; leave it out"
    (tmp_path / "webtext.toml").write_text(f"{key} = 3")
    for source in ({"sets": [f"{key}=3"]}, {"toml_path": str(tmp_path / "webtext.toml")}):
        with pytest.raises(ConfigError, match=re.escape(message)):
            load(**source)
    with pytest.raises(ConfigError, match="unknown setting dedup.inner.pace"):
        load(sets=["dedup.inner.pace=3"])


TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
VALUES = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=3))
@example({"a": "\x7f", "b c": {"d.e": 1, "": {"f": 2}}})
def test_settings_written_as_toml_come_back(settings: dict[str, object]) -> None:
    document: dict[str, Any] = {"crawl": settings}
    assert tomllib.loads(to_toml(document)) == without_empty(document)


def test_numbers_are_keys_too() -> None:
    assert toml_value({2: 0.5, "a b": []}) == '{2 = 0.5, "a b" = []}'


def without_empty(settings: dict[str, Any]) -> dict[str, Any]:
    """A table without a setting is not written."""
    kept = {
        key: without_empty(value) if isinstance(value, dict) else value
        for key, value in settings.items()
    }
    return {key: value for key, value in kept.items() if value != {}}


class Below(Section):
    first: int = 1
    second: int = 2


class Above(Section):
    alone: int = 0
    another: int = 0
    inner: Below = Below()
    third: int = 0


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ({"inner": {"secnd": 1}}, "toy.inner.second, toy.inner.first"),
        # Nothing like it: those of its section.
        ({"inner": {"xyzxyzxyzxyzxyz": 1}}, "toy.inner.first, toy.inner.second"),
        ({"xyzxyzxyzxyzxyzxyz": 1}, "toy.alone, toy.another, toy.inner.first"),
    ],
)
def test_an_unknown_setting_is_answered_with_names_near_it(
    given: dict[str, object], known: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Above.model_validate(given)
    line = _explain(caught.value, Above, "toy")
    assert f"; known: {known} (all: --help-all)" in line


class Unfit(Section):
    size: int = Field(0, ge=1)
    """Size."""


class Listed(Section):
    names: list[str] = Field(default_factory=lambda: ["a", "b"])
    """Names."""


def test_a_default_is_checked_like_a_value() -> None:
    with pytest.raises(ConfigError, match=r"dedup.size = 0: .*greater than or equal to 1"):
        load_config(Unfit, "dedup", environ={})


def test_help_shows_a_default_that_is_made() -> None:
    assert list(describe(Listed, "dedup")) == [("dedup.names", '["a", "b"]', "Names.")]
