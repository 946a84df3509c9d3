"""The application: an address for each view. Views read the corpus; only labels are written."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from corpus.errors import InputError, WebtextError
from corpus.snapshots.snapshot import snapshots
from corpus.storage.store import Store
from corpus.tables.elsewhere import is_elsewhere
from corpus.tables.inventory import batch_names
from webtext.inspection.diff import MOST_DOMAINS, compare
from webtext.inspection.explain import trace
from webtext.look import corpus_views, life, runs_view, sample
from webtext.look.full_text import FullTextIndex
from webtext.look.labels import ANSWERS, KEYS, Labels, precision_by_similarity
from webtext.look.text_marks import word_diff
from webtext.reports import funnel
from webtext.reports.ablations import Ablation

COOKIE = "webtext_look"
MAX_FORM_BYTES = 4096
STEP_PAGES_SHOWN = 500
SIDE_PAGES_SHOWN = 25
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-src {frames}; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Origins:
    """Addresses of the two servers, and the host names accepted in requests."""

    frames: str
    """The origin of stored pages."""
    secret: str
    """First part of their addresses."""
    hosts: frozenset[str] = frozenset({"127.0.0.1", "localhost", "[::1]"})
    token: str | None = None


def look_app(store: Store, origins: Origins, ablations: Sequence[Ablation] = ()) -> Starlette:
    """The application over one corpus."""
    views = Views(store, origins, ablations)
    routes = [
        Route("/", views.funnel),
        Route("/sample/{stage}/{reason}", views.sample),
        Route("/page/{doc_id}", views.page),
        Route("/blocks/{doc_id}", views.blocks),
        Route("/page/{doc_id}/{step}", views.neighbour),
        Route("/find", views.find),
        Route("/pairs", views.pairs),
        Route("/domains", views.domains),
        Route("/domain/{domain}", views.domain),
        Route("/search", views.search, methods=["GET", "POST"]),
        Route("/runs", views.runs),
        Route("/step", views.step),
        Route("/runs/{run}/step", views.step),
        Route("/crawl", views.crawl),
        Route("/rights", views.rights),
        Route("/compare", views.snapshots),
        Route("/compare/{doc_id}", views.compare),
        Route("/label", views.label, methods=["POST"]),
        Mount("/static", StaticFiles(packages=[("webtext.look", "static")])),
    ]

    return Starlette(
        routes=routes,
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard(origins))],
        exception_handlers={WebtextError: views.problem, FileNotFoundError: views.replaced},
    )


Next = Callable[[Request], Awaitable[Response]]


def guard(origins: Origins) -> Callable[[Request, Next], Awaitable[Response]]:
    """Refuse requests of other sites, and add the policy to every answer."""

    async def dispatch(request: Request, call_next: Next) -> Response:
        response = _refusal(request, origins) or await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY.format(frames=origins.frames)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"

        return response

    return dispatch


def _refusal(request: Request, origins: Origins) -> Response | None:
    # A foreign name that resolves to this machine (DNS rebinding) would make its scripts ours.
    host = request.headers.get("host", "").rsplit(":", 1)[0]
    if host not in origins.hosts:
        return PlainTextResponse(f"host {host!r} is not served here", 421)

    # A stored page, or any other site, must not write labels by a form.
    site = request.headers.get("sec-fetch-site", "same-origin")
    if request.method == "POST" and site != "same-origin":
        return PlainTextResponse("labels are written from this window only", 403)

    if origins.token is None or _is_same(request.cookies.get(COOKIE), origins.token):
        return None
    if not _is_same(request.query_params.get("token"), origins.token):
        return PlainTextResponse("open the address with ?token=... that the command printed", 401)
    answer = RedirectResponse(request.url.path, 303)
    answer.set_cookie(COOKIE, origins.token, httponly=True, samesite="strict")
    return answer


def _is_same(given: str | None, token: str) -> bool:
    return given is not None and secrets.compare_digest(given.encode(), token.encode())


class Views:
    """A method for each address. Synchronous ones run in threads: a slow view blocks no other."""

    def __init__(self, store: Store, origins: Origins, ablations: Sequence[Ablation]) -> None:
        self._store = store
        self._ablations = ablations
        self._origins = origins
        self._labels = Labels(store, secrets.token_hex(8))
        self._index = FullTextIndex(store)

        self._templates = Environment(
            loader=PackageLoader("webtext.look"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["keys"] = KEYS
        self._templates.tests["elsewhere"] = is_elsewhere

    def funnel(self, request: Request) -> Response:
        names = batch_names(self._store)
        wanted = request.query_params.get("batch", "")
        each = [funnel.batch_bars(self._store, name) for name in names if wanted in ("", name)]
        bars = funnel.summed(each)
        most = max((bar.rows for bar in bars), default=1) or 1
        return self._html("funnel.html", names=names, batch=wanted, bars=bars, most=most)

    def sample(self, request: Request) -> Response:
        stage, reason = request.path_params["stage"], request.path_params["reason"]
        seed = _number(request, "seed")
        batch = request.query_params.get("batch", "")
        rows, total = sample.draw(self._store, stage, reason, seed, batch=batch)
        shown = {"stage": stage, "reason": reason, "seed": seed, "batch": batch}
        return self._html("sample.html", rows=rows, total=total, **shown)

    def page(self, request: Request) -> Response:
        found = life.life(self._store, request.path_params["doc_id"])
        frame = f"{self._origins.frames}/{self._origins.secret}/{found.history.doc_id}"
        like = self._like(found)
        return self._html(
            "page.html", page=found, history=found.history, frame=frame, like=like, answers=ANSWERS
        )

    def blocks(self, request: Request) -> Response:
        """A part of a page's view of its own: the extractor's model takes seconds to load once."""
        history = trace(self._store, request.path_params["doc_id"])
        found = []
        response = life.stored_html(self._store, history)
        if response is not None:
            found = life.judged_blocks(response.body, life.content_type(response))

        return self._html("blocks.html", blocks=found)

    @staticmethod
    def _like(found: life.PageLife) -> tuple[str, str]:
        """Stage and reason of pages with the same end."""
        history = found.history
        if history.dropped is not None:
            return "documents", history.dropped["reason"]
        if history.verdict is not None:
            return "verdicts", history.verdict["reason"] or sample.KEPT

        failed = history.page["reason"] if history.page else None
        return "pages", failed or sample.KEPT

    def neighbour(self, request: Request) -> Response:
        doc_id = request.path_params["doc_id"]
        step = {"next": 1, "previous": -1}.get(request.path_params["step"], 0)
        batch = trace(self._store, doc_id).batch
        found = sample.neighbour(self._store, batch, doc_id, step) if batch and step else None
        return RedirectResponse(f"/page/{found or doc_id}", 303)

    def find(self, request: Request) -> Response:
        history = trace(self._store, request.query_params.get("q", "").strip())
        if history.doc_id is None or history.link is None:
            return self._html("unknown.html", history=history, status=404)
        return RedirectResponse(f"/page/{history.doc_id}", 303)

    def pairs(self, request: Request) -> Response:
        found = corpus_views.pairs(self._store)
        answered = self._labels.latest("pair")
        number = min(_number(request, "n"), max(0, found.num_rows - 1))
        pair, difference = None, None
        if found.num_rows:
            [pair] = found.slice(number, 1).to_pylist()
            texts = [
                corpus_views.document_text(self._store, pair[name])
                for name in ("doc_id", "duplicate_of")
            ]
            difference = word_diff(*texts)

        answer = answered.get((pair["doc_id"], pair["duplicate_of"])) if pair else None
        return self._html(
            "pairs.html",
            pair=pair,
            difference=difference,
            number=number,
            total=found.num_rows,
            answer=answer["answer"] if answer else None,
            answered=len(answered),
            precision=precision_by_similarity(answered.values()),
        )

    def domains(self, request: Request) -> Response:
        name = request.query_params.get("q", "").strip().lower()
        rows = corpus_views.domains(self._store, name)
        return self._html("domains.html", rows=rows, q=name)

    def domain(self, request: Request) -> Response:
        domain = request.path_params["domain"]
        losses = corpus_views.domain_losses(self._store, domain)
        pages = corpus_views.domain_pages(self._store, domain)
        return self._html("domain.html", domain=domain, losses=losses, pages=pages)

    def search(self, request: Request) -> Response:
        if request.method == "POST":
            self._index.start()
            return RedirectResponse("/search", 303)

        asked, ready = request.query_params.get("q", ""), self._index.is_ready
        return self._html(
            "search.html",
            ready=ready,
            making=self._index.is_being_made,
            count=self._index.num_documents,
            q=asked,
            rows=self._index.search(asked) if ready else [],
        )

    def runs(self, request: Request) -> Response:
        names = self._store.folders("runs")
        chosen = [name for name in request.query_params.getlist("run") if name in names] or names

        return self._html(
            "runs.html",
            names=names,
            chosen=chosen,
            drawings=runs_view.drawings(self._store, chosen),
            scores=runs_view.score_rows(self._store, chosen),
            samples=runs_view.samples(self._store, chosen),
            ablations=self._ablations,
        )

    def step(self, request: Request) -> Response:
        run = request.path_params.get("run") or request.query_params.get("run", "")
        step = _number(request, "step")
        found = runs_view.step_pages(self._store, run, step)
        rows = sample.with_addresses(self._store, found[:STEP_PAGES_SHOWN])
        return self._html("step.html", run=run, step=step, rows=rows)

    def crawl(self, request: Request) -> Response:
        template = "crawl_lines.html" if "lines" in request.query_params else "crawl.html"
        return self._html(template, crawls=corpus_views.crawls(self._store))

    def rights(self, request: Request) -> Response:
        signals = corpus_views.opt_outs(self._store)
        return self._html(
            "rights.html", signals=signals, takedowns=corpus_views.takedowns(self._store)
        )

    def snapshots(self, request: Request) -> Response:
        names = snapshots(self._store)
        old, new = (request.query_params.get(name, "") for name in ("old", "new"))
        seed = _number(request, "seed")
        found, sides, changes = None, [], []
        if old and new:
            found = compare(self._store, old, new)
            sides = [
                ("Gained", found.came.most_common(), *self._drawn(found.came_ids, seed)),
                ("Lost", found.went.most_common(), *self._drawn(found.gone_ids, seed)),
            ]
            changes = sorted(found.tokens_by_domain.items(), key=lambda item: (-abs(item[1]), item))

        if not old and len(names) > 1:
            old, new = names[-2:]
        return self._html(
            "snapshots.html",
            names=names,
            old=old,
            new=new,
            seed=seed,
            found=found,
            sides=sides,
            domains=changes[:MOST_DOMAINS],
        )

    def _drawn(self, doc_ids: list[str], seed: int) -> tuple[list[dict[str, Any]], int]:
        """Some of the pages with their addresses, and the number of all."""
        chosen = random.Random(seed).sample(doc_ids, min(SIDE_PAGES_SHOWN, len(doc_ids)))
        return sample.with_addresses(self._store, chosen), len(doc_ids)

    def compare(self, request: Request) -> Response:
        history = trace(self._store, request.path_params["doc_id"])
        left = request.query_params.get("left", life.SETTINGS[0])
        right = request.query_params.get("right", life.SETTINGS[-1])

        difference = []
        response = life.stored_html(self._store, history)
        if response is not None:
            texts = [life.extracted_text(response, name) for name in (left, right)]
            pieces = word_diff(*texts)
            words = [len(text.split()) for text in texts]
            difference = list(zip((left, right), pieces, words, strict=True))

        return self._html(
            "compare.html",
            history=history,
            settings=life.SETTINGS,
            left=left,
            right=right,
            difference=difference,
        )

    async def label(self, request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_FORM_BYTES:
                return PlainTextResponse("too long", 413)

        form = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
        await run_in_threadpool(self._add_label, form)

        # Only a path of this application: the address comes from a form.
        back = form.get("back", "/")
        return RedirectResponse(back if back.startswith("/") and back[1:2] != "/" else "/", 303)

    def _add_label(self, form: dict[str, str]) -> None:
        try:
            similarity = float(form["similarity"]) if "similarity" in form else None
        except ValueError as error:
            raise InputError(
                f"similarity {form['similarity']!r}: expected a number from 0 to 1"
            ) from error
        question, doc_id, answer = (form.get(name, "") for name in ("question", "doc_id", "answer"))
        self._labels.add(question, doc_id, answer, form.get("other", ""), similarity)

    def problem(self, request: Request, error: Exception) -> Response:
        if isinstance(error.__cause__, FileNotFoundError):
            return self.replaced(request, error)
        return self._html("problem.html", words=str(error), status=400)

    def replaced(self, request: Request, error: Exception) -> Response:
        """A rebuild deletes the files of the generation before, which this view was reading."""
        words = f"A table was replaced while it was read; reload this page. ({error})"
        return self._html("problem.html", words=words, status=503)

    def _html(self, template: str, *, status: int = 200, **values: Any) -> Response:
        shown = self._templates.get_template(template).render(root=self._store.root, **values)
        return HTMLResponse(shown, status)


def _number(request: Request, name: str) -> int:
    """A number of the address, 0 for anything else."""
    text = request.query_params.get(name, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
