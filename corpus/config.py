"""Settings: defaults < the corpus < TOML < environment < `--set`; unknown keys are refused.

The file `webtext.toml` in the corpus holds what every batch of it shares (`webtext init` writes
it).

A stage composes its config from small frozen `Section` classes beside the code they configure.
Keys are dotted, stage first: `dedup.threshold`, `crawl.links.min_score`. In the environment the
dots become double underscores: `WEBTEXT_DEDUP__THRESHOLD=0.8`. Pydantic does the parsing.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from corpus.attribute_docs import attribute_docs
from corpus.errors import ConfigError

ENV_PREFIX = "WEBTEXT_"
# The top-level sections of a TOML file; a command reads its own and ignores the others.
STAGES = ("crawl", "clean", "dedup", "shards", "train", "refresh", "run")
# The file in the corpus with the settings that all its batches share.
CORPUS_SETTINGS = "webtext.toml"
NEAREST = 3  # similar names suggested for an unknown one


class Section(BaseModel):
    """A group of settings: frozen, no unknown keys, finite numbers.

    The docstring below a field is its line of help.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
    )
    outside_identity: ClassVar[frozenset[str]] = frozenset()
    """Fields that do not affect the output, such as tolerance flags.

    The fingerprint leaves them out.
    """
    outside_corpus: ClassVar[frozenset[str]] = frozenset()
    """Fields that `<corpus>/webtext.toml` may not set: a corpus may come from a stranger, and these
    run commands, send data or open private networks."""
    common: ClassVar[frozenset[str]] = frozenset()
    """Settings of a stage that --help lists, as keys below the stage; --help-all lists the rest."""
    retired: ClassVar[Mapping[str, str]] = {}
    """Names that were settings of this section, each with what holds now."""

    def identity(self) -> dict[str, Any]:
        """The settings that the fingerprint covers; those outside of it are at their defaults."""
        return self._at_defaults(self.outside_identity).model_dump(mode="json")

    def without_effect(self) -> dict[str, str]:
        """Keys below this section that its other settings switch off, each with the reason.

        A key may name a whole section (`gopher`) or a setting in one (`c4.min_sentences`).
        """
        return {}

    def effective(self) -> Self:
        """These settings with those that have no effect at their defaults.

        Manifests and fingerprints hold the effective ones, so that a threshold of a rule that is
        not applied rebuilds nothing.
        """
        nested = {name: each.effective() for name, each in self if isinstance(each, Section)}
        return self.model_copy(update=nested)._at_defaults(self.without_effect())

    def _at_defaults(self, keys: Iterable[str]) -> Self:
        updates: dict[str, Any] = {}
        for key in keys:
            name, _, rest = key.partition(".")
            nested = updates.get(name, getattr(self, name))
            updates[name] = nested._at_defaults([rest]) if rest else self._default(name)
        return self.model_copy(update=updates)

    @classmethod
    def _default(cls, name: str) -> Any:
        return cls.model_fields[name].get_default(call_default_factory=True)


S = TypeVar("S", bound=Section)


def load_config(
    model: type[S],
    stage: str,
    *,
    corpus_toml: str | None = None,
    toml_path: str | None = None,
    sets: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> S:
    """Resolve the settings of `stage`; `corpus_toml` is the text of the corpus's own file.

    Raises: ConfigError with the key, the value and the allowed values.
    """
    settings: dict[str, Any] = {}
    if corpus_toml is not None:
        _merge(settings, _from_corpus(corpus_toml, model, stage))
    if toml_path is not None:
        _merge(settings, _from_toml(toml_path, stage))
    _merge(settings, _from_environment(stage, environ or {}))
    for assignment in sets:
        _merge(settings, _from_assignment(assignment, stage))

    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_explain(error, model, stage)) from error


def describe(model: type[Section], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield (dotted key, default, meaning) of every setting below `model`."""
    for name, field in model.model_fields.items():
        key = f"{prefix}.{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from describe(field.annotation, key)
            continue

        default = (
            "required"
            if field.is_required()
            else toml_value(field.get_default(call_default_factory=True))
        )
        meaning = field.description or attribute_docs(model).get(name, "")
        yield key, default, " ".join(meaning.split())


def given(config: Section, prefix: str) -> Iterator[tuple[str, Any, bool]]:
    """Yield (dotted key, value, is the default) of every setting that was given."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Section):
            yield from given(value, f"{prefix}.{name}")
        elif name in config.model_fields_set:
            yield f"{prefix}.{name}", value, value == config._default(name)


def ineffective(config: Section, prefix: str) -> Iterator[str]:
    """Describe each given setting that has no effect under the others. Defaults do no harm."""
    off = config.without_effect()
    for key, value, is_default in given(config, prefix):
        for each, reason in off.items():
            if not is_default and f"{key}.".startswith(f"{prefix}.{each}."):
                yield f"{key} = {toml_value(value)} has no effect: {reason}"

    for name, value in config:
        if isinstance(value, Section) and name not in off:
            yield from ineffective(value, f"{prefix}.{name}")


def _from_toml(path: str, stage: str) -> dict[str, Any]:
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"--config {path}: {error.strerror}; name an existing TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--config {path}: not TOML ({error})") from error
    return _section_of(text, stage, f"--config {path}")


def _from_corpus(text: str, model: type[Section], stage: str) -> dict[str, Any]:
    """Read the corpus's own settings. Raises ConfigError for those that a corpus may not hold."""
    settings = _section_of(text, stage, CORPUS_SETTINGS)
    for key in outside_corpus(model):
        found: Any = settings
        for name in key.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None:
            raise ConfigError(
                f"{CORPUS_SETTINGS} of the corpus sets {stage}.{key}; it is read from --config, the "
                "environment or --set only, since a corpus may come from somebody else"
            )
    return settings


def outside_corpus(model: type[Section], prefix: str = "") -> Iterator[str]:
    """Yield the keys below the stage that `<corpus>/webtext.toml` may not set."""
    for name, field in model.model_fields.items():
        if name in model.outside_corpus:
            yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from outside_corpus(field.annotation, f"{prefix}{name}.")


def _section_of(text: str, stage: str, where: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not TOML ({error})") from error

    for key in document:
        if key not in STAGES:
            raise ConfigError(f"{where}: unknown section [{key}]; allowed: {', '.join(STAGES)}")

    section = document.get(stage, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{where}: {stage} = {section!r}; expected a section [{stage}]")
    return section


def _from_environment(stage: str, environ: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    prefix = f"{ENV_PREFIX}{stage.upper()}__"
    for variable in sorted(environ):
        if variable.startswith(prefix):
            keys = variable.removeprefix(prefix).lower().split("__")
            _merge(settings, _nested(keys, _parse(environ[variable])))
    return settings


def _from_assignment(assignment: str, stage: str) -> dict[str, Any]:
    key, separator, value = assignment.partition("=")
    if not separator:
        raise ConfigError(f"--set {assignment}: expected section.key=value")

    top, *keys = key.strip().split(".")
    if top not in STAGES or not keys:
        raise ConfigError(
            f"--set {assignment}: key {key!r} must begin with one of {', '.join(STAGES)}"
        )
    return _nested(keys, _parse(value)) if top == stage else {}


def _parse(text: str) -> Any:
    """Parse a TOML value (`0.8`, `true`, `["a"]`, `{a = "b"}`); anything else is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    result: dict[str, Any] = value
    return result


def _merge(target: dict[str, Any], update: Mapping[str, Any]) -> None:
    for key, value in update.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


def _explain(error: ValidationError, model: type[Section], stage: str) -> str:
    """Describe the first problem in one line: key, value and the allowed values."""
    problem = error.errors()[0]
    key = ".".join((stage, *(str(part) for part in problem["loc"])))

    if problem["type"] == "extra_forbidden":
        if (now := _retired(model, problem["loc"])) is not None:
            return f"{key} is no longer a setting: {now}; leave it out"
        known = [name for name, _, _ in describe(model, stage)]
        depth = [name for name in known if name.startswith(key.rpartition(".")[0] + ".")]
        near = difflib.get_close_matches(key, known, n=NEAREST)
        named = ", ".join(near or depth[:NEAREST] or known[:NEAREST])
        return f"unknown setting {key}; known: {named} (all: --help-all)"

    if problem["type"] == "missing":
        return (
            f"{key} is not set and has no default; "
            f"put it into the file of --config, or add --set {key}=..."
        )
    if problem["type"] in ("tuple_type", "list_type") and isinstance(problem["input"], str | int):
        written = toml_value([problem["input"]])
        return f"{key} = {problem['input']!r}: expected a list; write --set '{key}={written}'"
    return f"{key} = {problem['input']!r}: {problem['msg']}"


def _retired(model: type[Section], path: Sequence[int | str]) -> str | None:
    """The reason why a key, or the section that it lies in, is no longer a setting, if it was."""
    for name in path:
        if (now := model.retired.get(str(name))) is not None:
            return now
        field = model.model_fields.get(str(name))
        annotation = field.annotation if field is not None else None
        if not (isinstance(annotation, type) and issubclass(annotation, Section)):
            return None
        model = annotation
    return None


def to_toml(settings: Mapping[str, Any], prefix: str = "") -> str:
    """Write nested settings as TOML tables."""
    plain = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    lines = [f"{toml_key(key)} = {toml_value(value)}" for key, value in plain.items()]
    text = "\n".join([f"[{prefix}]", *lines, "", ""]) if prefix and lines else ""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            name = toml_key(key)
            text += to_toml(value, f"{prefix}.{name}" if prefix else name)
    return text


def given_settings(
    stage: str, *, toml_path: str | None = None, sets: Sequence[str] = ()
) -> dict[str, Any]:
    """Settings of `stage` that a file and --set name, unchecked."""
    settings = _from_toml(toml_path, stage) if toml_path is not None else {}
    for assignment in sets:
        _merge(settings, _from_assignment(assignment, stage))
    return settings


def set_keys(sets: Sequence[str]) -> list[str]:
    """The dotted keys of --set."""
    return [assignment.partition("=")[0].strip() for assignment in sets]


def toml_value(value: Any) -> str:
    """A value as TOML writes it; None, which TOML lacks, as `none`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    if isinstance(value, str):
        # Strings of TOML are those of JSON but for one more control character that is escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        items = (f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items())
        return "{" + ", ".join(items) + "}"
    return str(value)


def toml_key(key: str | int) -> str:
    """A key as TOML writes it: quoted unless it is letters, digits, `_` and `-` alone."""
    name = str(key)
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)
