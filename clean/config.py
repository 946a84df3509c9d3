"""Settings of the clean stage. Each section is defined beside the code it configures."""

from __future__ import annotations

from pydantic import Field, model_validator

from clean.extract import ExtractConfig
from clean.filters.boilerplate import BoilerplateConfig
from clean.filters.language import LanguageConfig
from clean.filters.personal import PersonalConfig
from clean.filters.quality import EDITING_PRESETS, QualityConfig
from clean.filters.wikipedia import WikipediaConfig
from clean.normalize import NormalizeConfig
from clean.plugins import PluginsConfig
from clean.rights_policy import CleanRightsConfig
from clean.sandbox import SandboxConfig
from clean.soft_failures.config import SoftFailuresConfig
from corpus.config import Section


class CleanConfig(Section):
    """Settings of the step from WARC files to documents."""

    common = frozenset(
        {
            "extract.extractor",
            "language.languages",
            "quality.preset",
            "personal.replace",
            "rights.policy",
        }
    )

    extract: ExtractConfig = Field(default_factory=ExtractConfig)
    soft_failures: SoftFailuresConfig = Field(default_factory=SoftFailuresConfig)
    normalize: NormalizeConfig = Field(default_factory=NormalizeConfig)
    language: LanguageConfig = Field(default_factory=LanguageConfig)
    wikipedia: WikipediaConfig = Field(default_factory=WikipediaConfig)
    plugins: PluginsConfig = Field(default_factory=PluginsConfig)
    personal: PersonalConfig = Field(default_factory=PersonalConfig)
    quality: QualityConfig = Field(default_factory=QualityConfig)
    boilerplate: BoilerplateConfig = Field(default_factory=BoilerplateConfig)
    rights: CleanRightsConfig = Field(default_factory=CleanRightsConfig)
    sandbox: SandboxConfig = Field(default_factory=SandboxConfig)
    marks: bool = False
    """Keep licences and opt-outs that pages name, as the table `marks`."""
    allow_broken_segments: bool = False
    """Commit although no page of some WARC segment could be read."""

    @model_validator(mode="after")
    def _plugins_give_plain_text(self) -> CleanConfig:
        if self.extract.format == "markdown" and self.plugins.extractor:
            raise ValueError(
                f"clean.plugins.extractor {self.plugins.extractor!r} gives plain text; "
                "set clean.extract.format = 'text'"
            )
        return self

    @model_validator(mode="after")
    def _markdown_is_not_edited(self) -> CleanConfig:
        if self.extract.format == "markdown" and self.quality.preset in EDITING_PRESETS:
            raise ValueError(
                f"clean.extract.format is 'markdown', but clean.quality.preset {self.quality.preset!r} "
                "removes lines of plain text; set another preset, or clean.extract.format = 'text'"
            )
        return self
