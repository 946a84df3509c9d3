"""The settings of the clean stage: the sections live beside the code that they configure."""

from __future__ import annotations

from pydantic import Field

from clean.archives import ArchivesConfig
from clean.boilerplate import BoilerplateConfig
from clean.extract import ExtractConfig
from clean.language import LanguageConfig
from clean.normalize import NormalizeConfig
from clean.personal import PersonalConfig
from clean.quality import QualityConfig
from clean.sandbox import SandboxConfig
from clean.wikipedia import WikipediaConfig
from corpus.config import Section


class CleanConfig(Section):
    """WARC to documents."""

    archives: ArchivesConfig = Field(default_factory=ArchivesConfig)
    extract: ExtractConfig = Field(default_factory=ExtractConfig)
    normalize: NormalizeConfig = Field(default_factory=NormalizeConfig)
    language: LanguageConfig = Field(default_factory=LanguageConfig)
    wikipedia: WikipediaConfig = Field(default_factory=WikipediaConfig)
    personal: PersonalConfig = Field(default_factory=PersonalConfig)
    quality: QualityConfig = Field(default_factory=QualityConfig)
    boilerplate: BoilerplateConfig = Field(default_factory=BoilerplateConfig)
    sandbox: SandboxConfig = Field(default_factory=SandboxConfig)
    marks: bool = False
    """Whether licences and opt-outs that pages name are kept as a table `marks` beside `documents`."""
