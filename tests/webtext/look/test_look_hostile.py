"""Hostile pages stay inert: by their markup for every file, and in a real browser for every vector."""

from __future__ import annotations

import contextlib
import http.server
import io
import re
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard

from tests.support.counting_server import RARE_VECTORS, VECTORS, Counter, counting
from webtext.look.app import POLICY
from webtext.look.frames import frame_headers, inert, served

# Frames of one page: the browser keeps a document for each.
FRAMES_SHOWN = 120
# Runs before and after whatever else a page does.
CANARY = "<script>fetch('{home}/canary');parent.postMessage('ran','*')</script>"
# Prefixes that close a script, comment, attribute or raw text, so that the last vector is markup.
CLOSED = (
    "\"'--></script></style></textarea></title></xmp></noscript></template></select></svg></math>"
)
CHARSETS = ("utf-16-le", "utf-16-be", "utf-7", "iso2022_jp", "utf-32-le", "hz", "cp037")


class Answer(NamedTuple):
    """One answer of a server."""

    body: bytes
    kind: str
    headers: Mapping[str, str]


def test_no_element_that_a_browser_follows_is_left() -> None:
    shown = inert(VECTORS.format(home="http://home.test"))
    left = re.findall(r"<(?:link|meta|base|iframe|frame|frameset|object|embed)\b", shown, re.I)
    assert left == []
    assert inert("<LINK rel=x></link><p>kept</p>") == "<inert-LINK rel=x></inert-link><p>kept</p>"


@contextlib.contextmanager
def serving(answers: Mapping[str, Answer], strays: list[str]) -> Iterator[str]:
    """Serve answers by path; requests for other paths are added to `strays`. Yields the origin."""

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in answers:
                strays.append(self.path)
            found = answers.get(self.path, Answer(b"", "text/plain", {}))
            self.send_response(200)
            for name, value in {"Content-Type": found.kind, **found.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def show(
    browser: Any, bodies: Sequence[bytes], act: Callable[[Any], None] = lambda _: None
) -> list[str]:
    """Show pages in frames as the window does; requests and messages that left one of them."""
    frames: dict[str, Answer] = {}
    parents: dict[str, Answer] = {}
    strays: list[str] = []
    with serving(frames, strays) as origin, serving(parents, strays) as parent:
        for number, body in enumerate(bodies):
            text, kind = served(body, "text/html", html=True)
            frames[f"/{number}"] = Answer(
                text.encode("utf-8", "replace"), kind, frame_headers(parent)
            )

        policy = {"Content-Security-Policy": POLICY.format(frames=origin)}
        starts = range(0, len(bodies), FRAMES_SHOWN)
        for start in starts:
            numbers = range(start, min(len(bodies), start + FRAMES_SHOWN))
            shown = "".join(
                f'<iframe sandbox src="{origin}/{number}"></iframe>' for number in numbers
            )
            parents[f"/{start}"] = Answer(shown.encode(), "text/html", policy)

        context = browser.new_context()
        for start in starts:
            page = context.new_page()
            page.add_init_script("window.onmessage = () => { document.title = 'ran' }")
            page.goto(f"{parent}/{start}", wait_until="load")
            shown_frames = [each for each in page.frames[1:] if each.url.startswith(origin)]
            assert len(shown_frames) == min(FRAMES_SHOWN, len(bodies) - start)
            act(page)
            assert page.url == f"{parent}/{start}"
            page.wait_for_timeout(200)
            assert len(context.pages) == 1, "a window was opened"
            if page.title():
                strays.append(page.title())
            page.close()
        context.close()
    return [each for each in strays if each != "/favicon.ico"] + Counter.seen


@pytest.fixture
def home() -> Iterator[str]:
    with counting() as address:
        yield address


def test_in_a_browser_no_vector_runs_a_script_or_sends_a_request(home: str, chromium: Any) -> None:
    """Every vector alone, all together, and in encodings that hide markup from a search of bytes."""
    lines = (VECTORS + RARE_VECTORS).format(home=home).strip().splitlines()
    canary = CANARY.format(home=home)
    bodies = [line.encode() for line in lines]
    bodies.append(VECTORS.format(home=home).encode())
    bodies += [(canary + VECTORS.format(home=home)).encode(name, "replace") for name in CHARSETS]

    assert show(chromium, bodies, click_all) == []


def click_all(page: Any) -> None:
    """Click what invites a click. Nothing waits: a click that is blocked has no effect."""
    for frame in page.frames[1:]:
        target = frame.query_selector("#click")
        if target is not None:
            target.dispatch_event("click")
    first = page.frames[1].page.locator("iframe").first
    first.scroll_into_view_if_needed()
    first.click(force=True)


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.soak)])
def test_in_a_browser_every_hostile_file_stays_inert(
    home: str, chromium: Any, shared: Path, step: int
) -> None:
    """Real malformed files (in the suite each twelfth), whose addresses would reach a server that counts, between two canaries."""
    canary = CANARY.format(home=home).encode()
    last = f"{CLOSED}<img src='{home}/last' onerror=fetch('{home}/error')>".encode() + canary
    bodies = [
        canary + re.sub(rb"https?://[\w.:-]+", home.encode(), body) + last
        for body in hostile_files(shared)
        if "<" in served(body, "text/html", html=True)[0]
    ]
    assert len(bodies) > 300
    assert show(chromium, bodies[::step]) == []


def hostile_files(shared: Path) -> Iterator[bytes]:
    """All files but the licences."""
    packed = (shared / "hostile" / "hostile.tar.zst").read_bytes()
    data = zstandard.ZstdDecompressor().stream_reader(packed).read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if member.isfile() and "LICENSES" not in member.name:
                found = archive.extractfile(member)
                assert found is not None
                yield found.read()
