"""The demo's web: ordinary pages, the planted cases among them, and every answer of the server.

`build` is deterministic for one set of installed packages, a number of pages and a seed.
"""

from __future__ import annotations

import gc
import html
import json
import random
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from corpus.errors import InputError
from examples.demo import archive, edits, foreign, markup, site, soft_failures
from examples.demo.cases import Case, Destination, Expectation, scaled
from examples.demo.pages import Page, pages
from examples.demo.server import Answer, address

# Ordinary pages of the full demo: about 15 MB of text.
NUM_PAGES = 3_300
TESTSET = "demo"
SLOW_ANSWER_S = 0.3
# Pages kept back for the planted cases and the test set, at `NUM_PAGES`.
RESERVED_PAGES = 600
# New pages of the follow-up dump, per ordinary page.
FOLLOWUP_FRAC = 0.04

MIRROR, NEAR_MIRROR, REWORDED = "mirrors.test", "oldmanuals.test", "secondhand.test"
MEMBERS, CLOSED, SLOW = "members.test", "closedshop.test", "slowpoke.test"
SHORTENER, MOVED, FORUM = "golinks.test", "movedhouse.test", "questionboard.test"
FOREIGN_HOST, GALLERY, STUBS, LEGACY = (
    "sprachen.test",
    "picturewall.test",
    "underconstruction.test",
    "legacycharset.test",
)
HALF_GONE, FORGOTTEN = "lampsandclocks.test", "forgottenpages.test"
LEAKS, NEWS = "studyguides.test", "latestdocs.test"
WIKIPEDIA_URLS = (
    "http://en.wikipedia.org/wiki/Python_(programming_language)",
    "https://en.wikipedia.org/wiki/N-gram",
    "http://en.m.wikipedia.org/wiki/Web_crawler",
)

FORBIDDING_ROBOTS = (
    "User-agent: *\nDisallow: /private/\nAllow: /private/brochure\nDisallow: /*.secret$\n"
)
CLOSING_ROBOTS = "User-agent: *\nDisallow: /\n"
USUAL_ROBOTS = (
    "User-agent: badbot\nDisallow: /\n\nUser-agent: *\nDisallow: /search\nDisallow: /login\n"
)

CHARSET_PHRASE = "a naïve façade of “smart quotes” – déjà vu at the Café Zürich"
MIN_LETTER_FRAC = 0.82
MIN_COPYABLE_WORDS, MAX_COPYABLE_WORDS = 350, 1_500


@dataclass(slots=True)
class DemoWeb:
    """Everything the server, the dump and the checks need."""

    seed: int
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    """`server.address(host, target)` to answer."""
    expectations: list[Expectation] = field(default_factory=list)
    """One per distinct page linked by the first dump."""
    followup: list[Expectation] = field(default_factory=list)
    """One per page linked by the follow-up dump alone."""
    titles: dict[str, str] = field(default_factory=dict)
    """URL to the title it is posted under."""
    passages: list[str] = field(default_factory=list)
    """The entries of the held-out test set."""
    archived: dict[str, Answer] = field(default_factory=dict)
    """Target to answer of the archive."""
    text_bytes: int = 0
    """UTF-8 bytes of main content without markup, over all pages served as documents."""

    @property
    def hosts(self) -> list[str]:
        """Host names served, without `www.`."""
        return sorted({host for host, _ in self.answers} - {archive.HOST})

    @property
    def num_pages(self) -> int:
        """HTML pages with content, linked by the dumps."""
        return len(self.expectations) + len(self.followup)

    def write_testset(self, folder: Path) -> Path:
        """Write the test set, one JSON object with its `text` a line. Returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{TESTSET}.jsonl"
        lines = (
            json.dumps({"id": index, "text": text}) for index, text in enumerate(self.passages)
        )
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path


def build(num_pages: int = NUM_PAGES, seed: int = 0) -> DemoWeb:
    """Build a web of `num_pages` ordinary pages and the planted ones.

    Planted pages are about a tenth as many, never fewer than about 60.

    Raises: InputError if the installed packages have too little documentation.
    """
    collecting = gc.isenabled()
    # Nothing here is cyclic. With thousands of syntax trees, collections take a sixth of the time.
    gc.disable()

    try:
        return _Builder(num_pages, seed).build()
    finally:
        if collecting:
            gc.enable()


class _Builder:
    """Collects pages, then plants one case after the other."""

    def __init__(self, num_pages: int, seed: int) -> None:
        self.num_pages = num_pages
        self.rng = random.Random(seed)
        self.web = DemoWeb(seed)
        num_news, num_reserve = (
            self.count(round(FOLLOWUP_FRAC * NUM_PAGES), 4),
            self.count(RESERVED_PAGES, 120),
        )
        pool = list(islice(pages(), num_pages + num_news + num_reserve))
        if len(pool) < num_pages + num_news + num_reserve:
            raise InputError(
                f"--pages {num_pages}: the installed packages give only {len(pool)} pages in all; "
                "install the extras (pip install webtext[all]) or ask for fewer pages"
            )

        order = self.rng.sample(range(len(pool)), len(pool))
        self.ordinary = [pool[index] for index in sorted(order[:num_pages])]
        self.news = [pool[index] for index in sorted(order[num_pages : num_pages + num_news])]
        self.reserve = [pool[index] for index in sorted(order[num_pages + num_news :])]
        self.siblings: dict[str, list[Page]] = {}
        self._words: dict[str, list[str]] = {}
        # URLs of prose pages unlike any other page.
        self.lonely: set[str] = set()
        # URL of a reserved page to a passage of its own.
        self.passages: dict[str, str] = {}

    def count(self, full: int, least: int = 1) -> int:
        return scaled(full, self.num_pages, least)

    def build(self) -> DemoWeb:
        everything = [*self.ordinary, *self.news, *self.reserve]
        self._words = {page.url: markup.words(page.text) for page in everything}
        self.find_lonely(everything)
        bases = [page for page in self.ordinary if page.url in self.lonely]
        self.rng.shuffle(bases)
        self.spare = [page for page in self.reserve if page.url in self.lonely]
        self.vocabulary = sorted(
            {word for page in bases[:20] for word in self._words[page.url] if word.isalpha()}
        )
        for page in self.ordinary:
            self.siblings.setdefault(page.host, []).append(page)
        self.leaks()
        self.copies(bases)
        self.redirects()
        self.robots()
        self.failures()
        self.oddities()
        taken = {expectation.url for expectation in self.web.expectations}
        for page in self.ordinary:
            if page.url not in taken:
                self.serve(page, Case.ORDINARY, Destination.FETCHED)

        self.plant_news()
        self.furnish_hosts()
        for target, answer in self.web.archived.items():
            self.web.answers[address(archive.HOST, target)] = answer
        self.web.expectations.sort(key=lambda expectation: expectation.url)

        return self.web

    def find_lonely(self, everything: Sequence[Page]) -> None:
        """Find prose pages unlike any other page, and passages without a part in any other page.

        The disposition of such pages is certain; the passages may be held out as a test set.
        """
        fit = {page.url: self._words[page.url] for page in everything if self.is_copyable(page)}
        passages = {
            page.url: text
            for page in self.reserve
            if (text := edits.passage(page.body)) is not None
        }
        targets = fit | {f"{url}#passage": markup.words(text) for url, text in passages.items()}
        shared = edits.shared_words(targets, self._words.items())
        self.lonely = {url for url in fit if shared[url] < 0.1 * len(fit[url])}
        self.passages = {
            url: text for url, text in passages.items() if shared[f"{url}#passage"] == 0
        }

    def is_copyable(self, page: Page) -> bool:
        if not MIN_COPYABLE_WORDS <= len(self._words[page.url]) <= MAX_COPYABLE_WORDS:
            return False

        text = page.text
        letters = sum(map(str.isalpha, text)) + text.count(" ")
        return (
            letters > MIN_LETTER_FRAC * len(text)
            and page.body.count("<p>") >= 4
            and page.body.count("<pre>") <= 6
        )

    def take(self, count: int) -> list[Page]:
        """Take prose pages with no other use."""
        if len(self.spare) < count:
            raise InputError(
                f"--pages {self.num_pages}: too few prose pages for the planted cases; "
                "ask for more pages"
            )

        taken, self.spare = self.spare[:count], self.spare[count:]
        return taken

    def add(self, expectation: Expectation, title: str) -> None:
        self.web.expectations.append(expectation)
        self.web.titles[expectation.url] = title

    def answer(self, url: str, answer: Answer) -> None:
        host, slash, path = url.removeprefix("http://").partition("/")
        self.web.answers[address(host, slash + path)] = answer

    def put(self, page: Page, layout_host: str | None = None, delay_s: float = 0.0) -> None:
        """Serve `page`."""
        body = site.render(page, self.siblings.get(page.host, ()), layout_host)
        self.answer(page.url, Answer(body, delay_s=delay_s))
        self.web.text_bytes += len(page.text.encode())

    def serve(
        self,
        page: Page,
        case: Case,
        destination: Destination,
        *,
        layout_host: str | None = None,
        survivor: str | None = None,
        reasons: tuple[str, ...] = (),
    ) -> None:
        """Serve `page` and expect `destination` of it."""
        self.put(page, layout_host)
        expected = Expectation(
            page.url, case, destination, status=200, survivor=survivor, reasons=reasons
        )
        self.add(expected, page.title)

    def leaks(self) -> None:
        """Plant the held-out test set, and pages with half of its entries."""
        per_case = self.count(8, 2)
        leaked, wanted = 3 * per_case, 6 * per_case
        alone = list(self.passages)[:wanted]
        if len(alone) < wanted:
            raise InputError(
                f"--pages {self.num_pages}: too few passages for the test set; ask for more pages"
            )

        self.web.passages = [self.passages[url] for url in alone]
        held_out = set(alone)
        self.spare = [page for page in self.spare if page.url not in held_out]
        hosts = self.take(leaked)

        for index, (text, host) in enumerate(zip(self.web.passages[:leaked], hosts, strict=True)):
            case = (Case.PASSAGE_VERBATIM, Case.PASSAGE_REWRITTEN, Case.PASSAGE_EMBEDDED)[index % 3]
            if case is Case.PASSAGE_VERBATIM:
                body = f"<p>{html.escape(text, quote=False)}</p>\n{host.body}"
            elif case is Case.PASSAGE_REWRITTEN:
                shown = html.escape(edits.disguised(text, self.rng), quote=False)
                notes = "These notes were written down from memory after the course."
                body = f"{host.body}\n<p>{shown}</p>\n<p>{notes}</p>"
            else:
                body = edits.embedded(host.body, text)
            page = Page(LEAKS, f"/notes/{index:03d}", f"Study notes on {host.title}", body)
            self.serve(page, case, Destination.TEST_OVERLAP)

    def copies(self, bases: list[Page]) -> None:
        """Plant exact copies, near copies and rewordings of ordinary pages unlike each other."""
        exact, near, miss = self.count(40, 3), self.count(40, 3), self.count(30, 2)
        for number in range(exact):
            base = self.next_base(bases)
            self.serve(base, Case.ORDINARY, Destination.KEPT)
            copy = replace(base, host=MIRROR, path=f"/{base.host}{base.path}")
            self.answer(copy.url, self.web.answers[address(base.host, base.path)])
            self.web.text_bytes += len(base.text.encode())
            expected = Expectation(
                copy.url,
                Case.EXACT_COPY,
                Destination.DUPLICATE,
                status=200,
                survivor=base.url,
                reasons=("exact_duplicate",),
            )
            self.add(expected, f"[Mirror {number}] {base.title}")

        for edit, case, destination, host, wanted in (
            (edits.near_copy, Case.NEAR_COPY, Destination.DUPLICATE, NEAR_MIRROR, near),
            (edits.reworded, Case.NEAR_MISS, Destination.KEPT, REWORDED, miss),
        ):
            for _ in range(wanted):
                base, body = self.next_edit(bases, edit)
                self.serve(base, Case.ORDINARY, Destination.KEPT)
                copy = replace(base, host=host, path=f"/copy/{base.host}{base.path}", body=body)
                survivor = base.url if destination is Destination.DUPLICATE else None
                self.serve(copy, case, destination, layout_host=base.host, survivor=survivor)

    def next_base(self, bases: list[Page]) -> Page:
        if not bases:
            raise InputError(
                f"--pages {self.num_pages}: too few pages of prose to copy; ask for more pages"
            )
        return bases.pop()

    def next_edit(self, bases: list[Page], edit: edits.Edit) -> tuple[Page, str]:
        """Take the next base from which `edit` makes a copy of the wanted similarity."""
        while True:
            base = self.next_base(bases)
            body = edit(base.body, self.vocabulary, self.rng)
            if body is not None:
                return base, body

    def redirects(self) -> None:
        """Plant redirects to pages without a direct link."""
        for number, target in enumerate(self.take(self.count(16, 2))):
            self.redirect(
                target, [f"http://{target.host}/old/{number}"], Case.REDIRECT_SAME_HOST, 301
            )

        for number, target in enumerate(self.take(self.count(10, 2))):
            self.redirect(
                target, [f"http://{SHORTENER}/{number:04x}"], Case.REDIRECT_OTHER_HOST, 302
            )

        for number, target in enumerate(self.take(self.count(6, 2))):
            hops = [
                f"http://{SHORTENER}/chain{number}",
                f"http://{MOVED}/{number}",
                f"http://{MOVED}/{number}/index",
            ]
            self.redirect(target, hops, Case.REDIRECT_CHAIN, 307)

        loop = (f"http://{MOVED}/round", f"http://{MOVED}/about")
        for here, there in (loop, loop[::-1]):
            self.answer(here, Answer(status=302, content_type=None, location=there))
        self.add(
            Expectation(loop[0], Case.REDIRECT_LOOP, Destination.NOT_FETCHED),
            "You will be redirected",
        )

    def redirect(self, target: Page, hops: Sequence[str], case: Case, status: int) -> None:
        self.put(target)
        for here, there in zip(hops, (*hops[1:], target.url), strict=True):
            self.answer(here, Answer(b"<p>Moved.</p>", status=status, location=there))
        self.add(
            Expectation(hops[0], case, Destination.KEPT, final_url=target.url, status=200),
            target.title,
        )

    def robots(self) -> None:
        """Plant paths and a host forbidden by robots.txt, and an allowed exception."""
        self.robots_txt(MEMBERS, FORBIDDING_ROBOTS)
        self.robots_txt(CLOSED, CLOSING_ROBOTS)
        for number, page in enumerate(self.take(self.count(24, 4))):
            host, path = ((MEMBERS, f"/private/report-{number}"), (CLOSED, f"/open/{number}"))[
                number % 2
            ]
            hidden = replace(page, host=host, path=path)
            self.put(hidden)
            self.add(
                Expectation(hidden.url, Case.ROBOTS_FORBIDDEN, Destination.NOT_FETCHED), page.title
            )

        for number, page in enumerate(self.take(self.count(3, 1))):
            self.serve(
                replace(page, host=MEMBERS, path=f"/private/brochure-{number}"),
                Case.ROBOTS_ALLOWED,
                Destination.KEPT,
            )

    def failures(self) -> None:
        """Plant missing, broken and slow pages."""
        hosts = sorted({page.host for page in self.ordinary})
        text = (
            "<p>The page you are looking for is not here. "
            "It may have moved, or the address may be wrong.</p>" * 20
        )

        for number in range(self.count(40, 3)):
            page = Page(hosts[number % len(hosts)], f"/gone/{number}.html", "Page not found", text)
            self.answer(page.url, Answer(site.render(page, self.siblings[page.host]), status=404))
            self.add(
                Expectation(page.url, Case.NOT_FOUND, Destination.NOT_FETCHED, status=404),
                f"Great read no {number}",
            )

        for number in range(2):
            page = Page(STUBS, f"/broken/{number}", "Internal Server Error", text)
            self.answer(page.url, Answer(site.render(page, ()), status=500))
            self.add(
                Expectation(page.url, Case.SERVER_ERROR, Destination.NOT_FETCHED, status=500),
                "It worked yesterday",
            )

        for number, page in enumerate(self.take(self.count(8, 3))):
            slow = replace(page, host=SLOW, path=f"/wait/{number}")
            self.put(slow, delay_s=SLOW_ANSWER_S)
            self.add(
                Expectation(slow.url, Case.SLOW_HOST, Destination.KEPT, status=200), page.title
            )

    def oddities(self) -> None:
        """Other languages, images, Wikipedia, stubs, wrong charsets, queries."""
        for path, (title, text) in foreign.TEXTS.items():
            body = "\n".join(
                f"<p>{html.escape(block, quote=False)}</p>" for block in text.split("\n\n")
            )
            self.serve(
                Page(FOREIGN_HOST, path, title, body),
                Case.FOREIGN,
                Destination.NOT_EXTRACTED,
                reasons=("language",),
            )

        image = Answer(png(64, 64), content_type="image/png")
        for number in range(self.count(8, 2)):
            linked, plain = (
                f"http://{GALLERY}/plots/{number}.png",
                f"http://{GALLERY}/figure/{number}",
            )
            self.answer(linked, image)
            self.answer(plain, image)
            self.add(
                Expectation(linked, Case.IMAGE_LINK, Destination.NOT_LINKED),
                f"My plot number {number}",
            )
            self.add(
                Expectation(plain, Case.IMAGE_BODY, Destination.NOT_FETCHED),
                f"A figure, number {number}",
            )

        for url in WIKIPEDIA_URLS:
            self.add(Expectation(url, Case.WIKIPEDIA, Destination.NO_DOCUMENT), "TIL about this")
        for number in range(self.count(14, 3)):
            body = f"<p>Chapter {number} is being written. Please come back next week.</p>"
            stub = Page(STUBS, f"/chapter/{number}", f"Chapter {number}", body)
            reasons = ("extract_empty", "too_short")
            self.serve(stub, Case.TOO_SHORT, Destination.NOT_EXTRACTED, reasons=reasons)

        for reason in soft_failures.ANSWERS:
            url = f"http://{HALF_GONE}/2009/{reason}.html"
            self.answer(url, Answer(soft_failures.page(reason)))
            self.add(
                Expectation(
                    url,
                    Case.SOFT_FAILURE,
                    Destination.NOT_EXTRACTED,
                    status=200,
                    reasons=(reason,),
                ),
                f"They have a fine {reason.replace('_', ' ')}",
            )

        for number, page in enumerate(self.take(self.count(6, 2))):
            self.revive(replace(page, host=FORGOTTEN, path=f"/2017/{number}.html"))
        for number, page in enumerate(self.take(4)):
            self.wrong_charset(replace(page, host=LEGACY, path=f"/legacy/{number}.html"), number)
        for number, page in enumerate(self.take(self.count(6, 2))):
            self.serve(
                replace(page, host=FORUM, path=f"/thread?id={number}&view=full"),
                Case.SAME_PATH,
                Destination.KEPT,
            )

    def revive(self, page: Page) -> None:
        """Plant a page that is gone from its site, and its captures in the archive."""
        body = site.render(page, self.siblings.get(page.host, ()))
        self.answer(page.url, Answer(b"<h1>Gone</h1>", status=410))
        self.web.archived.update(archive.answers(page.url, body))
        self.web.text_bytes += len(page.text.encode())
        expected = Expectation(page.url, Case.REVIVED, Destination.KEPT, status=200)
        self.add(expected, page.title)

    def wrong_charset(self, page: Page, number: int) -> None:
        """Encode `page` under a wrong header: invalid UTF-8, or a label that does not exist."""
        page = replace(
            page, body=f"<p>They called it {CHARSET_PHRASE}, and nobody laughed.</p>\n{page.body}"
        )
        self.put(page)
        text = site.render(page, ()).decode()

        if number % 2:
            answer = Answer(text.encode(), content_type="text/html; charset=utf8mb4-default")
        else:
            body = text.replace('charset="utf-8"', 'charset="windows-1252"').encode(
                "cp1252", "xmlcharrefreplace"
            )
            answer = Answer(body, content_type="text/html; charset=UTF-8")

        self.answer(page.url, answer)
        self.add(
            Expectation(
                page.url, Case.WRONG_CHARSET, Destination.KEPT, status=200, phrase=CHARSET_PHRASE
            ),
            page.title,
        )

    def plant_news(self) -> None:
        """Plant pages of the follow-up dump: new ones, and a copy of a page of the first dump."""
        for page in self.news:
            self.put(page)
            destination = Destination.KEPT if page.url in self.lonely else Destination.FETCHED
            self.web.followup.append(Expectation(page.url, Case.ORDINARY, destination, status=200))
            self.web.titles[page.url] = page.title

        base = next(
            e
            for e in self.web.expectations
            if e.destination is Destination.KEPT and e.case is Case.ORDINARY
        )
        host, _, path = base.url.removeprefix("http://").partition("/")
        copy = f"http://{NEWS}/{host}/{path}"
        self.answer(copy, self.web.answers[address(host, f"/{path}")])
        self.web.followup.append(
            Expectation(
                copy,
                Case.EXACT_COPY,
                Destination.DUPLICATE,
                status=200,
                survivor=base.url,
                reasons=("exact_duplicate",),
            )
        )
        self.web.titles[copy] = self.web.titles[base.url]

    def furnish_hosts(self) -> None:
        """Add a front page for every host, and a robots.txt for two of three without one."""
        for host in self.web.hosts:
            self.answer(f"http://{host}/", Answer(site.home(host, self.siblings.get(host, ()))))
            if (host, "/robots.txt") not in self.web.answers and zlib.crc32(host.encode()) % 3:
                self.robots_txt(host, USUAL_ROBOTS if zlib.crc32(host.encode()) % 3 == 1 else "")

        for url in WIKIPEDIA_URLS:
            body = Page(
                "en.wikipedia.org", "/", "A free encyclopedia's article", self.ordinary[0].body
            )
            self.answer(url.replace("https://", "http://"), Answer(site.render(body, ())))

    def robots_txt(self, host: str, text: str) -> None:
        self.web.answers[host, "/robots.txt"] = Answer(
            text.encode(), content_type="text/plain; charset=utf-8"
        )


def png(width: int, height: int) -> bytes:
    """A grey picture of the given size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(128 for _ in range(width)) for _ in range(height))
    chunks: Iterable[tuple[bytes, bytes]] = (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )

    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
