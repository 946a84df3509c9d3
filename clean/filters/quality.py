"""Quality rules: small ones, each with its paper, grouped into presets.

    webtext      a least length and nothing else: GPT-2 trusted the votes of Reddit's readers
    openwebtext  the length of OpenWebTextCorpus: about 128 GPT-2 tokens
    gopher       quality and repetition (clean/filters/gopher.py)
    c4           line cleaning, then page rules (clean/filters/c4.py)
    fineweb      gopher, then c4 without its punctuation rule, then three rules of its own
                 (clean/filters/fineweb.py)

A rule reads a `Profile` and returns the reason to drop, or None. Shared counts are made once, by
the profile. C4 also edits: it removes lines, and later rules see the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from pydantic import Field

from clean import detail
from clean.filters import c4, fineweb, gopher
from clean.filters.c4 import C4Config
from clean.filters.fineweb import FineWebConfig
from clean.filters.gopher import GopherConfig
from clean.filters.profile import Profile
from clean.reasons import Reason
from corpus.config import Section

Preset = Literal["webtext", "openwebtext", "gopher", "c4", "fineweb"]
MIN_WORDS: dict[Preset, int] = {
    "webtext": 50,
    "openwebtext": 96,
    "gopher": 50,
    "c4": 0,
    "fineweb": 50,
}
# Presets applying the rules of each section.
APPLIED_BY: dict[str, tuple[Preset, ...]] = {
    "gopher": ("gopher", "fineweb"),
    "c4": ("c4", "fineweb"),
    "fineweb": ("fineweb",),
}
# Presets removing lines of a text.
EDITING_PRESETS: Final = ("c4", "fineweb")


class QualityConfig(Section):
    """Rules that a text must pass."""

    preset: Preset = "webtext"
    """`webtext`, `openwebtext`, `gopher`, `c4` or `fineweb`: see clean/filters/quality.py."""
    min_words: int | None = Field(default=None, ge=0)
    """Least words of a document. Without a value it is the preset's (webtext 50: Gopher's;
    openwebtext 96: about 128 GPT-2 tokens).
    """
    model: str = ""
    """Learned quality of every document, by `webtext fit-quality`: a model of this corpus by its
    name, or a file. Empty: none.
    """
    model_threshold: float = Field(default=0.0, ge=0, le=1)
    """Least learned quality of a document, 0..1; 0 keeps all and only writes the column."""
    gopher: GopherConfig = Field(default_factory=GopherConfig)
    c4: C4Config = Field(default_factory=C4Config)
    fineweb: FineWebConfig = Field(default_factory=FineWebConfig)

    def identity(self) -> dict[str, Any]:
        """The settings without those of a model if none is named.

        So corpora built before there were models stay as they are.
        """
        found = super().identity()
        if not self.model:
            del found["model"], found["model_threshold"]
        return found

    def without_effect(self) -> dict[str, str]:
        """The thresholds of presets that are not chosen."""
        off = {
            name: f"clean.quality.preset = {self.preset!r} does not apply these rules; "
            f"presets that do: {', '.join(presets)}"
            for name, presets in APPLIED_BY.items()
            if self.preset not in presets
        }
        if not self.model:
            off["model_threshold"] = "clean.quality.model names no model"
        if self.preset == "fineweb":
            off["c4.terminal_punctuation"] = "preset fineweb leaves this rule out"
        return off


class Judged(NamedTuple):
    """The text as the preset leaves it, and the reason to drop it, if any."""

    text: str
    reason: Reason | None
    detail: str | None = None
    """Of a dropped text: the value, the threshold and the setting."""


def judge(text: str, config: QualityConfig) -> Judged:
    """The verdict of the first applicable rule of the preset."""
    for each in _verdicts(text, config):
        text = each.text
        if each.reason is not None:
            # Measured again, for dropped texts only: rules stay as fast as they are.
            return each._replace(detail=_detail(each.reason, Profile(text), config))
    return Judged(text, None)


def _detail(reason: Reason, profile: Profile, config: QualityConfig) -> str:
    if reason is Reason.TOO_SHORT:
        least = min_words(config)
        return detail.below(len(profile.words), least, "words", "quality.min_words")

    if (gopher_detail := gopher.DETAILS.get(reason)) is not None:
        return gopher_detail(profile, config.gopher)
    if (c4_detail := c4.DETAILS.get(reason)) is not None:
        return c4_detail(profile, config.c4)

    return fineweb.DETAILS[reason](profile, config.fineweb)


def _verdicts(text: str, config: QualityConfig) -> Iterator[Judged]:
    """Verdicts of the preset's rules in order, each with the text at that point."""
    preset = config.preset
    profile = Profile(text)
    yield Judged(text, too_short(profile, config))
    if preset in ("gopher", "fineweb"):
        for rule in gopher.RULES:
            yield Judged(text, rule(profile, config.gopher))

    if preset in EDITING_PRESETS:
        text = c4.kept_lines(
            text, config.c4, punctuation=preset == "c4" and config.c4.terminal_punctuation
        )
        profile = Profile(text)
        yield Judged(text, too_short(profile, config))
        for c4_rule in c4.RULES:
            yield Judged(text, c4_rule(profile, config.c4))

    if preset == "fineweb":
        for fineweb_rule in fineweb.RULES:
            yield Judged(text, fineweb_rule(profile, config.fineweb))


def min_words(config: QualityConfig) -> int:
    """The least words of a document: the setting, or else the preset's."""
    return config.min_words if config.min_words is not None else MIN_WORDS[config.preset]


def too_short(profile: Profile, config: QualityConfig) -> Reason | None:
    """Drops a text with fewer words than the least length."""
    return Reason.TOO_SHORT if len(profile.words) < min_words(config) else None
