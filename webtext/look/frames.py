"""Serves pages as they were stored, from an origin of their own. Nothing in them can act.

Four walls, each enough for most attacks:
1. The answer's policy (`default-src 'none'; sandbox`) forbids scripts and every request.
2. The frame has the attribute `sandbox`, so meta refresh and forms are dead as well.
3. Another port is another origin: a page's bytes never reach the application's one.
4. Elements followed by some browsers before they read a policy (`link`, `meta`, `base`, embedded
   content) are renamed. The text is decoded by our own decoder and sent as UTF-8, so the browser
   and the search for elements read the same text.
"""

from __future__ import annotations

import re

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from corpus.storage.store import Store
from corpus.tables.inventory import batch_names
from webtext.inspection.explain import row_of
from webtext.look.life import content_type, is_html, stored_response
from webtext.stages import needing

# Inline styles stay: a page without them looks unlike itself, and they can load data: images only.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; "
    "form-action 'none'; base-uri 'none'; frame-ancestors {parent}"
)
_ACTIVE = re.compile(
    r"<(/?)(?=(?:link|meta|base|iframe|frame|frameset|object|embed|applet|portal|fencedframe)\b)",
    re.I,
)


def frame_app(store: Store, parent: str, secret: str) -> Starlette:
    """The application of the second port. Only the origin `parent` may show its pages.

    `secret` is part of every address, so no other program of this machine can guess one.
    """

    def page(request: Request) -> Response:
        headers = frame_headers(parent)
        # In a window of its own a page could be left by a click, which asks a real host.
        if request.headers.get("sec-fetch-dest", "iframe") != "iframe":
            return PlainTextResponse("shown in a frame only", 403, headers)

        found = _stored(store, request.path_params["doc_id"])
        if found is None:
            return PlainTextResponse("no stored response", 404, headers)
        text, media_type = found
        return Response(text.encode("utf-8", "replace"), 200, headers, media_type)

    return Starlette(routes=[Route(f"/{secret}/{{doc_id:str}}", page)])


def frame_headers(parent: str) -> dict[str, str]:
    """The headers of every stored page. Only the origin `parent` may show it."""
    return {
        "Content-Security-Policy": POLICY.format(parent=parent),
        "X-Content-Type-Options": "nosniff",
        "X-DNS-Prefetch-Control": "off",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def _stored(store: Store, doc_id: str) -> tuple[str, str] | None:
    for batch in reversed(batch_names(store)):
        row = row_of(store, "pages", batch, doc_id)
        if row is not None and row["warc_file"] is not None:
            response = stored_response(store, row)
            if isinstance(response, str):
                return None
            return served(response.body, content_type(response), html=is_html(response))

    return None


def served(body: bytes, stated: str | None, *, html: bool) -> tuple[str, str]:
    """The text of a stored body as the frame gets it, and its media type."""
    with needing("clean"):
        from clean.page_source.decode import decode
    text = decode(body, stated).text
    return (
        (inert(text), "text/html; charset=utf-8") if html else (text, "text/plain; charset=utf-8")
    )


def inert(html: str) -> str:
    """The page after renaming the elements a browser could act on by itself."""
    return _ACTIVE.sub(r"<\1inert-", html)
