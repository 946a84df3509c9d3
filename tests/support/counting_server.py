"""Markup that would run or fetch something in a browser, and a server that counts what it fetches."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import threading
from collections.abc import Iterator

BROWSER = shutil.which("chromium")
VECTORS = """
<script>document.title='ran'; fetch('{home}/script')</script>
<img src="{home}/img" onerror="document.title='ran'">
<svg onload="fetch('{home}/svg')"><image href="{home}/svg-image"/><use href="{home}/use#x"/></svg>
<style>@import '{home}/import'; body{{background:url({home}/background)}} @font-face{{font-family:x;src:url({home}/font)}} p{{font-family:x}}</style>
<link rel=stylesheet href="{home}/sheet"><link rel=preconnect href="{home}"><link rel=dns-prefetch href="{home}">
<link rel=prefetch href="{home}/prefetch"><link rel=icon href="{home}/icon">
<meta http-equiv=refresh content="0;url={home}/refresh"><meta http-equiv=refresh content="0;url=javascript:document.title='ran'">
<iframe src="{home}/iframe"></iframe><iframe srcdoc="<script>parent.document.title='ran'</script>"></iframe>
<object data="{home}/object"></object><embed src="{home}/embed"><frameset><frame src="{home}/frame"></frameset>
<form action="{home}/form" id=f><input autofocus onfocus="f.submit()"></form>
<video src="{home}/video" poster="{home}/poster" autoplay></video><audio src="{home}/audio"></audio>
<base href="{home}/"><p style="background:url({home}/inline)">text<table background="{home}/table"><td></table>
<body background="{home}/body" onload="document.title='ran'"><a href="{home}/click" id=click>click</a>
"""


class Counter(http.server.BaseHTTPRequestHandler):
    """Counts every request that leaves a page."""

    seen: list[str] = []

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(204)
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def counting() -> Iterator[str]:
    """Count requests to a server on loopback; its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Counter.seen.clear()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
