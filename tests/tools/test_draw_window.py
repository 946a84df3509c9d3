"""Screenshots are left as they are, with the reason, where they cannot be taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import grown_corpus
from tools import draw_window


def test_a_missing_corpus_or_browser_is_one_clear_line(
    fates: grown_corpus.Fates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(draw_window, "take", lambda *_: pytest.fail("nothing can be taken"))
    assert draw_window.main(["--corpus", str(tmp_path)]) == 0
    assert "`make demo` builds it" in capsys.readouterr().out

    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert draw_window.main(["--corpus", fates.root]) == 0
    assert "no chromium" in capsys.readouterr().out


def test_every_picture_of_the_docs_is_one_that_is_taken(fates: grown_corpus.Fates) -> None:
    docs = Path(draw_window.PICTURES).parent
    shown = (docs / "look.md").read_text("utf-8") + (docs.parent / "README.md").read_text("utf-8")
    taken = draw_window.views(fates.root)
    for picture in docs.glob("pictures/look-*.png"):
        assert picture.stem in taken
    assert all(
        f"pictures/{name}.png" in shown for name in ("look-funnel", "look-page", "look-pairs")
    )
