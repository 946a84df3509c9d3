"""Each view in Chromium: axe-core's rules, keys, dark and light, a phone's width and 200 % zoom."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from corpus.tables.parquet import read_table
from tests.support import grown_corpus
from tests.support.written_runs import add_run
from webtext.look.app import Origins, look_app
from webtext.look.frames import frame_app

# Axe's levels of a fault, from "minor" up to these.
GRAVE = ("serious", "critical")
# WCAG 1.4.10 asks for no sideways scrolling at 320 CSS pixels, a 1,280 pixel window at 400 %.
PHONE = {"width": 320, "height": 640}
DESK = {"width": 1280, "height": 900}
# A window of 1,280 pixels at 200 % zoom has this many CSS pixels.
ZOOMED = {"width": 640, "height": 450}
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# The outline of the focused element, as its style and width.
FOCUS = """() => {
  const element = document.activeElement, style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  return {name: element.tagName + ' ' + (element.textContent || element.name || element.title).trim().slice(0, 40),
          outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0,
          y: box.top + scrollY, shown: box.width > 0 && box.height > 0 && box.right > 0};
}"""


@contextlib.contextmanager
def served_window(store: Any) -> Iterator[str]:
    """Both servers of the window on free ports of loopback, in a thread. Yields the address."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    parent, frames = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    apps = [look_app(store, Origins(frames, "secret")), frame_app(store, parent, "secret")]
    servers = [
        uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", loop="asyncio"))
        for app in apps
    ]

    async def serve() -> None:
        await asyncio.gather(
            *(server.serve([each]) for server, each in zip(servers, sockets, strict=True))
        )

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        yield parent
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(10)
        for each in sockets:
            each.close()


@pytest.fixture(scope="module")
def address(fates: grown_corpus.Fates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The window on a copy of the corpus with two runs."""
    root = tmp_path_factory.mktemp("window") / "corpus"
    shutil.copytree(fates.root, root)
    corpus = dataclasses.replace(fates, root=str(root))
    for number, name in enumerate(("first", "second")):
        add_run(corpus, name, 4.0 + number)
    with served_window(corpus.store) as found:
        yield found


@pytest.fixture(scope="module")
def axe() -> str:
    package = pytest.importorskip("axe_playwright_python")
    return Path(package.__file__).with_name("axe.min.js").read_text("utf-8")


def view_paths(fates: grown_corpus.Fates) -> dict[str, str]:
    """An address of each view, with a page of every kind of end."""
    rows = [
        row
        for batch in ("2024-01", "2024-02")
        for row in read_table(fates.store, "links", batch, ["doc_id", "url", "domain"]).to_pylist()
    ]
    ids = {row["url"]: row["doc_id"] for row in rows}
    pages = {
        name: f"/page/{ids[getattr(fates, name)]}" for name in ("kept", "near", "short", "missing")
    }
    return pages | {
        "funnel": "/",
        "sample": "/sample/verdicts/kept?seed=1",
        "pairs": "/pairs",
        "domains": "/domains",
        "domain": f"/domain/{rows[0]['domain']}",
        "search": "/search",
        "runs": "/runs",
        "crawl": "/crawl",
        "rights": "/rights",
        "snapshots": "/compare?old=2024-01&new=2024-02",
        "compare": f"/compare/{ids[fates.kept]}",
        "unknown": "/find?q=http://nowhere.test/",
    }


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.soak)])
def test_axe_finds_no_grave_fault_and_nothing_scrolls_sideways(
    address: str, fates: grown_corpus.Fates, chromium: Any, axe: str, step: int
) -> None:
    """Every view (in the suite each sixth), dark and light, at a desk, zoomed and on a phone."""
    faults = []
    for scheme in ("light", "dark"):
        # The tool runs in an isolated world of its own, which the policy of the page leaves alone.
        context = chromium.new_context(color_scheme=scheme, viewport=DESK, bypass_csp=True)
        context.add_init_script(axe)
        page = context.new_page()
        paths = view_paths(fates) | {"step": "/runs/first/step?step=2"}
        for name, path in [*paths.items()][::step]:
            page.set_viewport_size(DESK)
            page.goto(address + path, wait_until="networkidle")
            found = page.evaluate(
                "axe.run(document, {iframes: false, resultTypes: ['violations']})"
            )
            for each in found["violations"]:
                if each["impact"] in GRAVE:
                    where = [node["html"][:120] for node in each["nodes"]][:3]
                    faults.append((scheme, name, each["id"], where))
            for size in (ZOOMED, PHONE) if scheme == "light" else ():
                page.set_viewport_size(size)
                if page.evaluate(SIDEWAYS) > 0:
                    faults.append((str(size["width"]), name, "scrolls sideways", []))
        context.close()
    assert faults == [], "\n".join(map(str, faults))


def test_tab_visits_everything_in_order_with_a_visible_focus(
    address: str, fates: grown_corpus.Fates, chromium: Any
) -> None:
    page = chromium.new_page(viewport=DESK)
    for name in ("near", "funnel", "pairs"):
        page.goto(address + view_paths(fates)[name], wait_until="networkidle")
        num_stops = page.evaluate(
            "[...document.querySelectorAll('a[href],button,summary,input:not([type=hidden]),"
            'iframe,[tabindex="0"]\')].length'
        )
        stops = []
        for _ in range(min(num_stops, 40)):
            page.keyboard.press("Tab")
            stops.append(page.evaluate(FOCUS))
        # After the last stop the focus leaves the page.
        stops = [each for each in stops if not each["name"].startswith("BODY")]
        assert stops[0]["name"].startswith("A Skip"), name
        assert all(
            each["outline"] and each["shown"] for each in stops if "IFRAME" not in each["name"]
        ), [each for each in stops if not each["outline"] or not each["shown"]]
        assert len({(each["name"], each["y"]) for each in stops}) > 0.8 * len(stops)
    page.close()


def test_a_pair_is_labelled_by_keys_and_a_page_is_left_by_them(
    fates_copy: grown_corpus.Fates, chromium: Any
) -> None:
    paths = view_paths(fates_copy)
    with served_window(fates_copy.store) as address:
        page = chromium.new_page()
        page.goto(address + "/pairs")
        for key, answered in (("n", 1), ("y", 2)):
            with page.expect_navigation():
                page.keyboard.press(key)
            assert f"{answered} answered" in page.inner_text("main")

        page.goto(address + "/pairs?n=0")
        assert page.get_attribute("button[value=no]", "aria-pressed") == "true"
        page.goto(address + paths["near"])
        keys = page.evaluate("[...document.querySelectorAll('[data-key]')].map(e => e.dataset.key)")
        assert len(keys) == len(set(keys)) == 9
        for key in ("n", "p"):
            with page.expect_navigation():
                page.keyboard.press(key)
        assert page.url == address + paths["near"]

        # In a field a key is a letter.
        page.click("#q")
        page.keyboard.type("yn")
        assert page.input_value("#q") == "yn"
        page.close()
