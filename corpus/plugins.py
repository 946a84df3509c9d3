"""Plugins: functions of other installed packages, named by entry points and switched on by settings.

A package declares one in its pyproject.toml, here a filter of documents:

    [project.entry-points."webtext.filters"]
    recipes = "my_package:judge"

Nothing of a plugin runs because it is installed: a setting names it. Its package and version are an
input of the tables that it decides about, so another version asks for a rebuild.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from corpus.errors import InputError
from corpus.tables.manifest import Input

# Groups of entry points, by the setting that names one.
FILTERS = "webtext.filters"
EXTRACTORS = "webtext.extractors"
EXPORTERS = "webtext.exporters"


@dataclass(frozen=True)
class Plugin:
    """A plugin that was found, not yet imported."""

    name: str
    entry: EntryPoint

    @property
    def origin(self) -> str:
        """Package and version, such as `my-package 1.2`."""
        found = self.entry.dist
        return f"{found.name} {found.version}" if found is not None else "unknown"

    def load(self) -> Callable[..., Any]:
        """Import its function. Raises: InputError naming the plugin and the cause."""
        try:
            function = self.entry.load()
        except Exception as error:
            raise InputError(
                f"plugin {self.name} ({self.origin}): {self.entry.value} cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not callable(function):
            raise InputError(
                f"plugin {self.name} ({self.origin}): {self.entry.value} is a "
                f"{type(function).__name__}; expected a function"
            )
        return function


def installed(group: str) -> list[str]:
    """The names of a group's plugins on this machine, sorted."""
    return sorted({entry.name for entry in entry_points(group=group)})


def find(group: str, name: str, setting: str) -> Plugin:
    """The plugin of a name.

    Raises: InputError if it is not installed, or if two packages have one of that name. `setting`
    names the place where the user wrote it.
    """
    found = sorted(entry_points(group=group, name=name), key=lambda entry: entry.value)
    if not found:
        near = difflib.get_close_matches(name, installed(group), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise InputError(
            f"{setting}: no plugin {name!r} in the group {group}{meant}; installed: "
            f"{', '.join(installed(group)) or 'none'}; install its package on every machine that runs tasks"
        )
    if len({entry.value for entry in found}) > 1:
        packages = ", ".join(Plugin(name, entry).origin for entry in found)
        raise InputError(f"{setting}: {name!r} is a plugin of several packages ({packages})")
    return Plugin(name, found[0])


def plugin_inputs(group: str, names: Sequence[str], setting: str) -> list[Input]:
    """Plugins as inputs of a table: their names with package and version."""
    return [
        Input(
            table="plugin", batch=f"{group}:{name}", fingerprint=find(group, name, setting).origin
        )
        for name in names
    ]
