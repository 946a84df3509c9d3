"""Takes the screenshots of `webtext look` for the documentation: `python -m tools.draw_window`.

It opens the corpus of the demo (`make demo`) in Chromium. Without the demo or Chromium it says so in
one line and leaves the pictures as they are, so that documentation builds everywhere.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corpus.storage.store import open_corpus
from tools.draw_pictures import PICTURES
from webtext.look.sample import draw

SIZE = {"width": 1200, "height": 780}
# A seed under which the sample begins with a page of prose.
SEED = 1
TIMEOUT_MS = 60_000


def main(argv: Sequence[str] | None = None) -> int:
    """Write one picture a view."""
    parser = argparse.ArgumentParser(prog="tools.draw_window", description=__doc__)
    parser.add_argument("--corpus", default="demo/corpus", help="default: %(default)s")
    args = parser.parse_args(argv)

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not (Path(args.corpus) / "corpus.json").exists():
        print(
            f"screenshots are left as they are: no corpus at {args.corpus}; `make demo` builds it"
        )
        return 0
    if chromium is None:
        print("screenshots are left as they are: no chromium on this machine")
        return 0

    command = [sys.executable, "-m", "webtext", "look", "--corpus", args.corpus, "--port", "0"]
    window = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert window.stdout is not None
        address = window.stdout.readline().removeprefix("look: ").strip().rstrip("/")
        take(address, chromium, views(args.corpus))
    finally:
        window.send_signal(signal.SIGINT)
        window.wait(10)
    return 0


def views(corpus: str) -> dict[str, tuple[str, str]]:
    """Name of a picture to the address of its view and the colour scheme."""
    rows, _ = draw(open_corpus(corpus), "verdicts", "kept", SEED, size=1)
    return {
        "look-funnel": ("/", "light"),
        "look-page": (f"/page/{rows[0]['doc_id']}", "light"),
        "look-pairs": ("/pairs", "dark"),
    }


def take(address: str, chromium: str, wanted: dict[str, tuple[str, str]]) -> None:
    """Save a picture of each view."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        browser: Any = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (path, scheme) in wanted.items():
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)
            page.goto(address + path, wait_until="networkidle", timeout=TIMEOUT_MS)
            if name == "look-page":
                page.locator(".beside").first.scroll_into_view_if_needed()
                page.evaluate("document.querySelector('.beside').scrollIntoView()")
                page.wait_for_timeout(500)
            page.screenshot(path=str(PICTURES / f"{name}.png"))
            page.close()
        browser.close()


if __name__ == "__main__":
    raise SystemExit(main())
