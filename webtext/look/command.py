"""Open a window into the corpus: a web page on this machine, offline.

    webtext look --corpus C

It shows the funnel, samples of every reason, each page from link to tokens, pairs of duplicates to
judge, domains, the running crawl, runs, rights and take-downs. Only answers to questions are
written, below `reports/labels/`. Ctrl-C ends it.

Stored pages are shown in a frame without scripts or network, from a second port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import Store, open_corpus
from webtext.look.app import Origins, look_app
from webtext.look.export import export_labels
from webtext.look.frames import frame_app
from webtext.look.labels import Labels
from webtext.reports.ablations import add_ablation_option, read_ablations

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# The port after the last one is for stored pages.
MOST_PORTS = (1 << 16) - 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.look")


def _main(argv: Sequence[str] | None) -> int:
    parser = command.corpus_parser("webtext.look", __doc__ or "")
    parser.add_argument(
        "--port",
        type=int,
        default=8008,
        metavar="N",
        help="port; stored pages use the next one (default: 8008; 0: any two free ones)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to serve on (default: 127.0.0.1); another one requires --token, "
        "and the connection is not encrypted",
    )
    parser.add_argument(
        "--token",
        metavar="T",
        default=os.environ.get("WEBTEXT_LOOK_TOKEN"),
        help="a word that the browser must bring, at least 16 characters; better set as "
        "WEBTEXT_LOOK_TOKEN, since other users can read command lines",
    )
    add_ablation_option(parser)
    parser.add_argument(
        "--export-labels",
        metavar="DIR",
        type=Path,
        help="write the labelled pages as the archives that fits read, and stop",
    )
    args = parser.parse_args(argv)
    if args.export_labels is not None:
        return _export(open_corpus(args.corpus), args.export_labels, as_json=args.json)
    if not 0 <= args.port < MOST_PORTS:
        raise InputError(f"--port {args.port}: expected 0 to {MOST_PORTS - 1}")
    if args.host not in LOOPBACK and len(args.token or "") < 16:
        raise InputError(
            f"--host {args.host} lets other machines read all pages and write labels: give --token "
            f"or WEBTEXT_LOOK_TOKEN with at least 16 characters, such as {secrets.token_urlsafe(18)}"
        )

    store, ablations = open_corpus(args.corpus), read_ablations(args.ablation)
    with _listen(args.host, args.port) as first, _listen(args.host, _next(args.port)) as second:
        name = _in_address(args.host)
        port, frame_port = first.getsockname()[1], second.getsockname()[1]
        parent, secret = f"http://{name}:{port}", secrets.token_urlsafe(18)
        hosts = frozenset({"127.0.0.1", "localhost", "[::1]", name})
        origins = Origins(f"http://{name}:{frame_port}", secret, hosts, args.token)
        shown = f"{parent}/?token={args.token}" if args.token else f"{parent}/"
        print(json.dumps({"address": shown}) if args.json else f"look: {shown}", flush=True)
        app = look_app(store, origins, ablations)
        asyncio.run(_serve([(app, first), (frame_app(store, parent, secret), second)]))
    return 0


def _in_address(host: str) -> str:
    """The host as addresses name it: `localhost` is served by IPv4, and IPv6 has brackets."""
    if host == "localhost":
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _export(store: Store, folder: Path, *, as_json: bool) -> int:
    counts = export_labels(store, Labels(store, "export"), folder)
    if as_json:
        print(json.dumps(counts))
    else:
        print(
            f"{folder}: {counts['extraction']} pages with the right text, "
            f"{counts['soft_failure']} pages or soft failures, {counts['pair']} pairs"
        )
    return 0


def _next(port: int) -> int:
    return port + 1 if port else 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(
            f"port {port} of {host} cannot be used ({error.strerror}); choose another with --port"
        ) from error


class _Server(uvicorn.Server):
    """A server without signal handlers of its own: `_serve` ends both servers at once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(apps: Sequence[tuple[Any, socket.socket]]) -> None:
    """Serve all applications until SIGINT or SIGTERM."""
    servers = [
        _Server(
            uvicorn.Config(
                app,
                log_level="critical",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=1,
                server_header=False,
            )
        )
        for app, _ in apps
    ]

    def end() -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    pairs = zip(servers, apps, strict=True)
    await asyncio.gather(*(server.serve([listener]) for server, (_, listener) in pairs))


if __name__ == "__main__":
    raise SystemExit(main())
