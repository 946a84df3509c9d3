"""A filter for `webtext clean`: drops pages of cooking recipes.

pip install ./examples/plugin
webtext clean --corpus C --batch B --set 'clean.plugins.filters=["no-recipes"]'
"""

from __future__ import annotations

import re
from typing import Any

WORDS = re.compile(r"\b(tablespoons?|teaspoons?|preheat|ingredients|simmer)\b", re.IGNORECASE)
MOST_PER_100_WORDS = 2.0


def judge(page: Any) -> str | None:
    """None to keep a page (text, url, title, language), or why to drop it."""
    share = 100 * len(WORDS.findall(page.text)) / max(1, len(page.text.split()))
    return f"{share:.1f} kitchen words in 100" if share > MOST_PER_100_WORDS else None
