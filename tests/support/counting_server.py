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

# Rarer ways to run or fetch something; each line is a page of its own.
RARE_VECTORS = """
<svg><script href="{home}/svg-script"></script><style>@import url({home}/svg-import);</style></svg>
<svg><animate attributeName=href values="javascript:document.title='ran'"/><set attributeName=onload to="document.title='ran'"/></svg>
<svg><foreignObject><iframe src="{home}/foreign"></iframe></foreignObject><feImage href="{home}/filter"/></svg>
<svg><a href="{home}/svg-link" id=click><text y=20>click</text></a></svg>
<math><maction actiontype="statusline" href="{home}/math">x</maction></math>
<a href="{home}/click" ping="{home}/ping" id=click>click</a>
<a href="{home}/popup" target=_blank rel=opener id=click>click</a>
<a href="{home}/top" target=_top id=click>click</a>
<a href="{home}/download" download id=click>click</a>
<a href="javascript:fetch('{home}/javascript')" id=click>click</a>
<form action="{home}/submit" method=post target=_top><button id=click>click</button></form>
<form action="{home}/get" target=_blank><input type=image src="{home}/input-image" id=click alt=click></form>
<button form=f formaction="{home}/formaction" id=click>click</button><form id=f></form>
<script type=speculationrules>{{"prefetch":[{{"urls":["{home}/speculation"]}}]}}</script>
<script type=module src="{home}/module"></script><script type=importmap>{{"imports":{{"x":"{home}/map"}}}}</script>
<link rel=modulepreload href="{home}/modulepreload"><link rel=preload as=image href="{home}/preload">
<link rel=prerender href="{home}/prerender"><link rel=manifest href="{home}/manifest"><link rel=import href="{home}/import">
<picture><source srcset="{home}/source"><img srcset="{home}/srcset 2x" loading=eager></picture>
<video><track src="{home}/track" default><source src="{home}/video-source"></video>
<details open ontoggle="fetch('{home}/toggle')"><summary>x</summary></details><marquee onstart="fetch('{home}/marquee')">x</marquee>
<body onpageshow="fetch('{home}/pageshow')" onfocus="fetch('{home}/focus')"><input autofocus onfocus="fetch('{home}/input')">
<style>@import url({home}/sheet-import);p::before{{content:url({home}/content)}}li{{list-style:url({home}/list)}}</style><p>x<li>y
<style>body{{cursor:url({home}/cursor),auto;border-image:url({home}/border) 1;mask:url({home}/mask#m);filter:url({home}/filter.svg#f)}}</style>
<div style="background:image-set('{home}/image-set' 1x);shape-outside:url({home}/shape)">x</div>
<META/http-equiv="refresh"/content="0;url={home}/slashes"><meta http-equiv="Content-Security-Policy" content="report-uri {home}/report">
<meta http-equiv=x-dns-prefetch-control content=on><a href="{home}/prefetched">x</a>
<applet code=x codebase="{home}/applet"></applet><object type="image/svg+xml" data="{home}/object-svg"></object>
<frameset><frame src="{home}/frameset"><frame src="javascript:fetch('{home}/frame-script')"></frameset>
<iframe srcdoc="&lt;img src='{home}/srcdoc'&gt;"></iframe><iframe src="data:text/html,<img src='{home}/data'>"></iframe>
<noscript><p title="</noscript><iframe src='{home}/noscript'>"></noscript><xmp><p title="</xmp><img src='{home}/xmp'>"></xmp>
<template shadowrootmode=open><img src="{home}/shadow"><iframe src="{home}/shadow-frame"></iframe></template>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src='{home}/mutation' onerror=fetch('{home}/mutated')&gt;">
<!--><iframe src="{home}/comment"></iframe>--><![CDATA[><iframe src="{home}/cdata"></iframe>]]>
<?xml-stylesheet href="{home}/stylesheet"?><html manifest="{home}/appcache"><body background="{home}/background">
<button popovertarget=p id=click>click</button><div popover id=p onbeforetoggle="fetch('{home}/popover')"><img src="{home}/late"></div>
<portal src="{home}/portal"></portal><fencedframe src="{home}/fenced"></fencedframe><webview src="{home}/webview"></webview>
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
