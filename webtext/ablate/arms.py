"""The arms of an ablation: the changes of each one to the data or the training."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from corpus.config import toml_value
from corpus.errors import ConfigError, InputError
from corpus.storage.store import is_name

# Stages an arm can rebuild. A crawl would fetch again, and pages change meanwhile.
REBUILT = ("clean", "dedup", "shards")
KEYS = {"name", "corpus", "snapshot", "set"}


@dataclass(frozen=True)
class Arm:
    """A version of the data: settings over a corpus, or a snapshot as it is."""

    name: str
    corpus: str
    sets: tuple[str, ...] = ()
    """Assignments such as `clean.quality.preset=fineweb`."""
    snapshot: str | None = None
    """A snapshot of the corpus to train on as it is; None: one of all batches."""

    @property
    def first_stage(self) -> str | None:
        """The earliest stage to rebuild; None for settings of the training only."""
        stages = {setting.partition(".")[0] for setting in self.sets}
        return next((stage for stage in REBUILT if stage in stages), None)

    def to_json(self) -> dict[str, Any]:
        """The arm as plain values."""
        return {**asdict(self), "sets": list(self.sets)}


def arms_of_vary(corpus: str, vary: Sequence[str], snapshot: str | None) -> list[Arm]:
    """Every combination of the values of all `--vary KEY=a,b`. Raises: ConfigError."""
    choices = [_choices(each) for each in vary]
    arms = []
    for picked in itertools.product(*choices):
        name = "-".join(_short(key, value) for key, value in picked)
        sets = tuple(f"{key}={value}" for key, value in picked)
        arms.append(Arm(name, corpus, sets, snapshot))

    return checked(arms)


def _short(key: str, value: str) -> str:
    """A word for a value, with its setting unless it is a word already."""
    word = re.sub(r"[^A-Za-z0-9_.]+", "_", value).strip("_.")
    last = key.rpartition(".")[2]
    return word if re.match(r"[A-Za-z]", value) else f"{last}_{word}".rstrip("_")


def _choices(text: str) -> list[tuple[str, str]]:
    key, separator, values = text.partition("=")
    split = [value.strip() for value in _split(values)]
    if not separator or len(split) < 2 or not all(split):
        raise ConfigError(
            f"--vary {text}: expected KEY=VALUE,VALUE with two values or more, such as "
            "clean.quality.preset=webtext,fineweb"
        )

    return [(key.strip(), value) for value in split]


def _split(text: str) -> list[str]:
    """Split at commas outside of brackets and quotes: a value may be a list."""
    parts, depth, quoted = [""], 0, False
    for character in text:
        quoted ^= character == '"'
        depth += 0 if quoted else (character in "[{") - (character in "]}")
        if character == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def arms_of_file(path: str, corpus: str | None) -> list[Arm]:
    """Arms of a TOML file: `[[arm]]` with name, set, snapshot, corpus. Raises: ConfigError."""
    try:
        document = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"--arms {path}: {error.strerror}; name an existing TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--arms {path}: not TOML ({error})") from error

    found = document.get("arm")
    if set(document) != {"arm"} or not isinstance(found, list):
        raise ConfigError(f"--arms {path}: expected [[arm]] tables only, found {sorted(document)}")
    return checked([_arm(each, path, corpus) for each in found])


def _arm(table: Any, path: str, corpus: str | None) -> Arm:
    unknown = set(table) - KEYS if isinstance(table, Mapping) else KEYS
    if unknown:
        raise ConfigError(
            f"--arms {path}: an [[arm]] has {sorted(unknown)}; allowed: {', '.join(sorted(KEYS))}"
        )

    named, root, settings = table.get("name"), table.get("corpus", corpus), table.get("set", {})
    snapshot = table.get("snapshot")
    if not isinstance(named, str) or not isinstance(settings, Mapping):
        raise ConfigError(
            f'--arms {path}: expected name = "..." and set = {{"section.key" = value}} in each '
            f"[[arm]], found name {named!r} and set {settings!r}"
        )
    if not isinstance(root, str) or not isinstance(snapshot, str | None):
        raise ConfigError(
            f'--arms {path}: arm {named!r} needs a corpus; name one with corpus = "..." or --corpus'
        )

    sets = tuple(f"{key}={toml_value(value)}" for key, value in settings.items())
    return Arm(named, root, sets, snapshot)


def checked(arms: list[Arm]) -> list[Arm]:
    """The arms, if they can be compared. Raises: InputError, ConfigError."""
    names = [arm.name for arm in arms]
    if len(arms) < 2 or len(set(names)) < len(names):
        raise InputError(f"arms {', '.join(names) or 'none'}: expected two or more with own names")

    for arm in arms:
        if not is_name(arm.name):
            raise InputError(f"arm {arm.name!r}: expected letters, digits and . _ - only")
        for setting in arm.sets:
            stage = setting.partition(".")[0]
            if stage not in (*REBUILT, "train"):
                raise ConfigError(
                    f"arm {arm.name}: {setting}: settings of {', '.join(REBUILT)} and train can be "
                    "varied; build another crawl as a corpus, and name it with corpus = in --arms"
                )
        if arm.snapshot and arm.first_stage:
            raise ConfigError(
                f"arm {arm.name}: snapshot {arm.snapshot!r} is fixed, so settings of "
                f"{arm.first_stage} cannot change it; leave one of both out"
            )
    return arms
