"""Hostile pages stay inert: by their markup for every file, and in a real browser for every vector."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.counting_server import BROWSER, VECTORS, Counter, counting
from webtext.look.frames import POLICY, inert


@pytest.fixture
def home() -> Iterator[str]:
    with counting() as address:
        yield address


def test_no_element_that_a_browser_follows_is_left() -> None:
    shown = inert(VECTORS.format(home="http://home.test"))
    left = re.findall(r"<(?:link|meta|base|iframe|frame|frameset|object|embed)\b", shown, re.I)
    assert left == []
    assert inert("<LINK rel=x></link><p>kept</p>") == "<inert-LINK rel=x></inert-link><p>kept</p>"


def serve(pages: dict[str, tuple[str, str, str]]) -> http.server.ThreadingHTTPServer:
    """Serve bodies by path with their type and policy, on a port of their own."""

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, kind, policy = pages.get(self.path, ("", "text/plain", "default-src 'none'"))
            data = body.encode("utf-8", "replace")
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Security-Policy", policy)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.mark.skipif(BROWSER is None, reason="no chromium")
def test_in_a_browser_no_script_runs_and_no_request_leaves(home: str, shared: Path) -> None:
    """All vectors and hostile files, each in the frame as the window serves it."""
    playwright = pytest.importorskip("playwright.sync_api")
    folder = shared / "hostile"
    bodies = [VECTORS.format(home=home), *(part for part in VECTORS.format(home=home).splitlines())]
    bodies += _hostile(folder, home)
    frames: dict[str, tuple[str, str, str]] = {}
    frame_server = serve(frames)
    origin = f"http://127.0.0.1:{frame_server.server_port}"
    parents: dict[str, tuple[str, str, str]] = {}
    parent_server = serve(parents)
    parent = f"http://127.0.0.1:{parent_server.server_port}"

    for number, body in enumerate(bodies):
        frames[f"/{number}"] = (inert(body), "text/html", POLICY.format(parent=parent))
    shown = "".join(
        f'<iframe sandbox src="{origin}/{number}"></iframe>' for number in range(len(bodies))
    )
    parents["/"] = (shown, "text/html", f"default-src 'none'; frame-src {origin}")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(parent, wait_until="load")
        first = page.frames[1]
        first.locator("#click").first.click(force=True, timeout=5000)
        page.wait_for_timeout(300)
        titles = [frame.evaluate("document.title") for frame in page.frames[1:2]]
        browser.close()

    for server in (frame_server, parent_server):
        server.shutdown()
        server.server_close()
    assert "ran" not in titles
    assert Counter.seen == []


def _hostile(folder: Path, home: str) -> list[str]:
    """Real hostile files whose addresses, relative ones too, would reach the counting server."""
    import io
    import tarfile

    import zstandard

    data = (
        zstandard.ZstdDecompressor().stream_reader((folder / "hostile.tar.zst").read_bytes()).read()
    )
    bodies = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if member.isfile() and member.size < 20_000 and "LICENSES" not in member.name:
                body = archive.extractfile(member).read().decode("utf-8", "replace")  # type: ignore[union-attr]
                if "<" in body:
                    bodies.append(re.sub(r"https?://[\w.:-]+", home, body))
    return bodies[::8]
