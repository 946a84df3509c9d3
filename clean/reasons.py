"""The closed list of reasons to drop a page. None keeps it."""

from __future__ import annotations

from enum import StrEnum

from clean.soft_failures.config import KINDS


class Reason(StrEnum):
    """A reason to drop a page: the first applicable one. `step` names the part of the stage."""

    TRAINING_OPT_OUT = "training_opt_out"
    WARC_BROKEN = "warc_broken"
    CONTENT_TYPE = "content_type"
    BODY_EMPTY = "body_empty"
    BODY_TOO_LARGE = "body_too_large"
    EXTRACT_EMPTY = "extract_empty"
    EXTRACT_TIMEOUT = "extract_timeout"
    EXTRACT_MEMORY = "extract_memory"
    EXTRACT_CRASHED = "extract_crashed"
    BINARY = "binary"
    SYMBOLS = "symbols"
    BOT_WALL = "bot_wall"
    JS_REQUIRED = "js_required"
    PARKED = "parked"
    SOFT_404 = "soft_404"
    SERVER_DEFAULT = "server_default"
    LOGIN_WALL = "login_wall"
    CONSENT_WALL = "consent_wall"
    PAYWALL_TEASER = "paywall_teaser"
    AGE_GATE = "age_gate"
    GEO_BLOCK = "geo_block"
    ERROR_PAGE = "error_page"
    REDIRECT_STUB = "redirect_stub"
    HIJACKED = "hijacked"
    LANGUAGE = "language"
    LANGUAGE_UNSURE = "language_unsure"
    WIKIPEDIA = "wikipedia"
    WIKIPEDIA_MIRROR = "wikipedia_mirror"
    TOO_SHORT = "too_short"
    GOPHER_WORDS = "gopher_words"
    GOPHER_WORD_LENGTH = "gopher_word_length"
    GOPHER_SYMBOLS = "gopher_symbols"
    GOPHER_BULLETS = "gopher_bullets"
    GOPHER_ELLIPSES = "gopher_ellipses"
    GOPHER_ALPHABETIC = "gopher_alphabetic"
    GOPHER_STOP_WORDS = "gopher_stop_words"
    GOPHER_REPEATED_LINES = "gopher_repeated_lines"
    GOPHER_REPEATED_PARAGRAPHS = "gopher_repeated_paragraphs"
    GOPHER_TOP_NGRAM = "gopher_top_ngram"
    GOPHER_REPEATED_NGRAMS = "gopher_repeated_ngrams"
    C4_LOREM_IPSUM = "c4_lorem_ipsum"
    C4_CURLY_BRACE = "c4_curly_brace"
    C4_SENTENCES = "c4_sentences"
    FINEWEB_LINE_PUNCTUATION = "fineweb_line_punctuation"
    FINEWEB_SHORT_LINES = "fineweb_short_lines"
    FINEWEB_REPEATED_LINES = "fineweb_repeated_lines"
    FINEWEB_NEWLINES = "fineweb_newlines"
    PLUGIN = "plugin"
    LOW_QUALITY = "low_quality"

    @property
    def step(self) -> str:
        """The part of the stage that drops for this reason."""
        return _STEPS.get(self, "quality")

    @property
    def temporary(self) -> bool:
        """True if another fetch may bring the page: the client was refused, not the page."""
        return self in _TEMPORARY


SOFT_FAILURES = "soft_failures"
_TEMPORARY = frozenset((Reason.BOT_WALL, Reason.CONSENT_WALL))
_STEPS = {
    Reason.TRAINING_OPT_OUT: "rights",
    **{Reason(kind): SOFT_FAILURES for kind in KINDS},
    Reason.WARC_BROKEN: "read",
    Reason.CONTENT_TYPE: "read",
    Reason.BODY_EMPTY: "read",
    Reason.BODY_TOO_LARGE: "read",
    Reason.EXTRACT_EMPTY: "extract",
    Reason.EXTRACT_TIMEOUT: "extract",
    Reason.EXTRACT_MEMORY: "extract",
    Reason.EXTRACT_CRASHED: "extract",
    Reason.BINARY: "normalize",
    Reason.SYMBOLS: "normalize",
    Reason.LANGUAGE: "language",
    Reason.LANGUAGE_UNSURE: "language",
    Reason.PLUGIN: "plugins",
    Reason.WIKIPEDIA: "wikipedia",
    Reason.WIKIPEDIA_MIRROR: "wikipedia",
}
