"""Says that a stage compiles its loops first, on a machine where no code of it is kept."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)

# The stages with compiled loops; each has the package of its name.
STAGES = ("clean", "dedup")
ROOT = Path(__file__).parents[2]


def note_first_use(stage: str, root: Path = ROOT) -> None:
    """Log that the first run after an installation compiles; nothing if code is there."""
    if stage not in STAGES or any((root / stage).rglob("__pycache__/*.nbi")):
        return

    try:
        # numba takes half a second to import, and most runs find code beside the sources.
        from corpus.compiled import folder
    except ImportError:
        return

    place = folder()
    sources = {path.stem for path in (root / stage).rglob("*.py")}
    kept = Path(place).parent.glob("*/*.nbi") if place else ()
    if not any(path.name.partition(".")[0] in sources for path in kept):
        where = f"stored in {Path(place).parent}" if place else "not stored: set NUMBA_CACHE_DIR"
        log.info(
            "%s compiles its loops before the first page, once after an installation: up to a "
            "minute (%s); `python -m webtext.precompile` does it ahead, for all stages",
            stage,
            where,
        )
