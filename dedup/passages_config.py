"""Settings of `passage_steps`."""

from __future__ import annotations

from corpus.config import Section


class PassagesConfig(Section):
    """Settings of passages that several kept pages have."""

    min_words: int = 0
    """Words from which a paragraph or line is kept on one page only and cut out of the others; 0:
    off. 40 words are about 50 tokens, the length of Lee et al. (2021)."""

    anywhere: bool = False
    """Passages of min_words words count anywhere in a text as well, not only as whole paragraphs and
    lines; with one key for 4.5 words in `bands`."""

    def without_effect(self) -> dict[str, str]:
        """The choice of passages, if none are looked for."""
        return {} if self.min_words else {"anywhere": "dedup.passages.min_words is 0"}

    def model_post_init(self, context: object) -> None:
        if self.min_words and self.min_words < 8:
            raise ValueError(f"min_words is {self.min_words}; allowed: 0 (off), from 8 on")
