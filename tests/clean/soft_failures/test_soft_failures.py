"""Answers that are not pages: each kind is told by its evidence, and pages about them stay."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from clean.config import CleanConfig
from clean.document import Document, Dropped, Page, document_function
from clean.learned.extraction import page_extractor
from clean.page_source import metadata
from clean.reasons import Reason
from clean.soft_failures import evidence
from clean.soft_failures.addresses import StoredAnswer, answers_as_home
from clean.soft_failures.config import KINDS, SoftFailuresConfig
from clean.soft_failures.judge import JudgedPage, judge, judge_answer
from clean.soft_failures.lexicon import GROUPS, lexicon
from clean.soft_failures.words import normal, word_hashes
from examples.demo import soft_failures

DEEP = "http://site.test/2009/05/a-story.html"
MENU = "<ul><li><a href=/>Home</a><li><a href=/blog>Blog</a><li><a href=/shop>Shop</a></ul>"
STORY = (
    "The ferry left the harbour before dawn, and nobody on the pier waved. She had counted the "
    "crates twice, and each time the number came out wrong. By noon the wind had turned, the "
    "sails hung slack, and the captain began to tell the story of the winter in which the river "
    "froze from bank to bank. It was, he said, the only year in which people walked to the fair. "
)


@cache
def extract():
    return page_extractor()


def verdict(html: str, config: SoftFailuresConfig | None = None, **answer: object):
    found = extract()(html)
    marks = metadata.head_marks(html)
    page = JudgedPage(
        found.blocks, html, metadata.title(html, marks), marks, len(found.text.split())
    )
    facts = {"url": DEEP, "final_url": DEEP, **answer}
    return judge(StoredAnswer(**facts), page, config or SoftFailuresConfig())


def html(title: str, *paragraphs: str, heading: str = "", menu: bool = True) -> str:
    text = "".join(f"<p>{each}</p>" for each in paragraphs)
    top = f"<h1>{heading}</h1>" if heading else ""
    return f"<title>{title}</title><body>{MENU if menu else ''}<div>{top}{text}</div></body>"


FAILURES = {
    "cloudflare": ("bot_wall", html("Just a moment...", "Checking your browser before accessing.")),
    "typed": (
        "bot_wall",
        html(
            "Are you a robot?",
            "Please confirm that you are a real human by completing the captcha below.",
        ),
    ),
    "rejected": (
        "bot_wall",
        html(
            "Request Rejected",
            "The requested URL was rejected. Please consult with your administrator.",
            "Your support ID is: 1234567890",
        ),
    ),
    "entities": (
        "bot_wall",
        html("Access&#32;Denied", "Sorry, you have been&nbsp;blocked. You are unable to access."),
    ),
    "shell": (
        "js_required",
        "<title>App</title><body><noscript>You need to enable JavaScript to run this app."
        "</noscript><div id=root></div><script src=/main.js></script>",
    ),
    "sale": (
        "parked",
        html("example-shop.com is for sale", "Buy this domain. Make an offer today."),
    ),
    "parked_de": (
        "parked",
        html("Diese Domain steht zum Verkauf", "Domain kaufen: jetzt anfragen."),
    ),
    "soft_404": (
        "soft_404",
        html("Page not found | Site", "Sorry, the page you were looking for could not be found."),
    ),
    "soft_404_said_otherwise": (
        "soft_404",
        html(
            "Oops!",
            "We looked everywhere, but the page you tried to reach does not exist.",
            "Check the address for typing errors or go back to our home page.",
            heading="404",
        ),
    ),
    "soft_404_de": (
        "soft_404",
        html("Seite nicht gefunden", "Die angeforderte Seite existiert nicht."),
    ),
    "soft_404_fr": ("soft_404", html("Page introuvable", "La page demandée n’existe pas.")),
    "soft_404_es": ("soft_404", html("Página no encontrada", "La página solicitada no existe.")),
    "soft_404_pt": ("soft_404", html("Página não encontrada", "A página não foi encontrada.")),
    "soft_404_it": ("soft_404", html("Pagina non trovata", "La pagina richiesta non esiste.")),
    "soft_404_nl": ("soft_404", html("Pagina niet gevonden", "De pagina bestaat niet meer.")),
    "soft_404_pl": ("soft_404", html("Nie znaleziono strony", "Podana strona nie istnieje.")),
    "soft_404_ru": ("soft_404", html("Страница не найдена", "Такой страницы не существует.")),
    "soft_404_tr": ("soft_404", html("Sayfa bulunamadı", "Aradığınız sayfa bulunamadı.")),
    "soft_404_zh": ("soft_404", html("页面不存在", "抱歉，您访问的页面不存在。")),
    "soft_404_ja": ("soft_404", html("お探しのページ", "お探しのページは見つかりませんでした。")),
    "soft_404_ko": ("soft_404", html("오류", "요청하신 페이지를 찾을 수 없습니다.")),
    "soft_404_ar": ("soft_404", html("الصفحة غير موجودة", "لم يتم العثور على الصفحة")),
    "nginx": (
        "server_default",
        html(
            "Welcome to nginx!",
            "If you see this page, the nginx web server is successfully installed and working.",
        ),
    ),
    "listing": ("server_default", html("Index of /pub", "Parent Directory")),
    "login": (
        "login_wall",
        html(
            "Log in - Site", "<form>Username <input name=u> Password <input type=password></form>"
        ),
    ),
    "login_de": (
        "login_wall",
        html(
            "Anmelden",
            "<form>Benutzername <input> Passwort vergessen?<input type='password'></form>",
        ),
    ),
    "login_fr": (
        "login_wall",
        html("Connexion", "<form>Mot de passe oublié ? <input type='password'></form>"),
    ),
    "login_ru": (
        "login_wall",
        html("Вход на сайт", "<form>Логин <input> Пароль <input type=password></form>"),
    ),
    "login_ja": (
        "login_wall",
        html("ログイン", "<form>パスワードを忘れた <input type=password></form>"),
    ),
    "consent": (
        "consent_wall",
        html("Before you continue to Search", "We use cookies. Accept all. Reject all."),
    ),
    "consent_nl": (
        "consent_wall",
        html(
            "Cookies op Krant.test",
            "Krant.test maakt gebruik van cookies. Geef toestemming voor cookies om verder te gaan.",
            "Ja, ik ga akkoord. Cookie-instellingen. Cookies accepteren.",
        ),
    ),
    "consent_de": (
        "consent_wall",
        html(
            "Weiterlesen mit Werbung und Cookies",
            "Wir verwenden Cookies. Ihre Einwilligung: alle akzeptieren oder zustimmen.",
        ),
    ),
    "consent_fr": (
        "consent_wall",
        html(
            "Vos choix sur les cookies",
            "Nous utilisons des cookies. Tout accepter ou continuer sans accepter.",
        ),
    ),
    "teaser": (
        "paywall_teaser",
        html(
            "Rates to rise",
            "The bank has raised its rates again.",
            "To continue reading this article, subscribe now. Already a subscriber? Log in.",
        ),
    ),
    "age": (
        "age_gate",
        html(
            "Age verification",
            "You must be at least 18 to enter. Are you over 18? Confirm your age.",
        ),
    ),
    "geo": (
        "geo_block",
        html("Sorry", "This content is not available in your country."),
    ),
    "maintenance": (
        "error_page",
        html("Down for maintenance", "We will be back soon. Please try again later."),
    ),
    "failure": ("error_page", html("503 Service Unavailable", "The server is overloaded.")),
    "refresh": (
        "redirect_stub",
        '<meta http-equiv="refresh" content="0;url=/new"><body><a href=/new>Go</a></body>',
    ),
    "moved": ("redirect_stub", html("Object moved", "This object may be found here.", menu=False)),
    "doorway": (
        "hijacked",
        html(
            "Situs slot gacor hari ini",
            "Daftar slot online terpercaya, link slot gacor, judi online, togel, maxwin, rtp slot.",
        ),
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_told_by_kind(name: str) -> None:
    kind, page = FAILURES[name]
    found = verdict(page)
    assert found is not None
    assert found.kind == kind, found
    assert found.detail


def test_every_kind_is_tried_and_is_a_reason_of_its_step() -> None:
    assert {kind for kind, _ in FAILURES.values()} == set(KINDS)
    for kind in KINDS:
        assert Reason(kind).step == "soft_failures"
    assert {kind for kind in KINDS if Reason(kind).temporary} == {"bot_wall", "consent_wall"}


GENUINE = {
    "captcha": html(
        "How captchas came to be",
        "A captcha asks whether you are human. " + STORY * 2,
        "When a site says “checking your browser before accessing”, a script runs. " + STORY,
    ),
    "the 404": html("The 404 1,310: podcast of the week", STORY * 2, "Not found by us: a sponsor."),
    "domains": html("Domain names for sale in the nineties", STORY * 3, "The domain was parked."),
    "plumbing": html("Plumbing maintenance tips", STORY * 2),
    "login to reply": html("A story", STORY * 2, "<a href=/login>Log in to reply</a>"),
    "soon": html("Coming soon: three new films", STORY * 3),
    "cookies": html("Grandmother's cookies", "Use cookies of the day before. " + STORY * 2),
    "nginx": html("Welcome to nginx! What the default page means", STORY * 5),
    "age": html(
        "Age verification laws in the EU", "You must be 18 to enter, says a law. " + STORY * 3
    ),
    "short": html("Notes of Tuesday", STORY),
}


@pytest.mark.parametrize("name", GENUINE)
def test_pages_about_failures_are_pages(name: str) -> None:
    assert verdict(GENUINE[name]) is None


@pytest.mark.parametrize(
    ("name", "value", "wall"),
    [
        ("cf-mitigated", "challenge", True),
        ("CF-Mitigated", " challenge", True),
        ("x-amzn-waf-action", "captcha", True),
        ("x-datadome", "interstitial", True),
        ("x-datadome", "protected", False),
        ("x-vercel-mitigated", "challenge", True),
        # Of vendors that guard pages, too.
        ("server", "cloudflare", False),
        ("set-cookie", "__cf_bm=1; datadome=2; incap_ses_1=3", False),
        ("x-amzn-requestid", "1", False),
        ("x-cdn", "Incapsula", False),
    ],
)
def test_headers_say_that_a_request_was_refused(name: str, value: str, wall: bool) -> None:
    found = verdict(GENUINE["short"], headers=[(name, value)])
    assert (found is not None and found.kind == "bot_wall") is wall
    if found is not None:
        assert name.lower() in found.detail


@pytest.mark.parametrize(
    ("url", "final_url", "kind"),
    [
        (DEEP, "http://site.test/", "soft_404"),
        (DEEP, "https://www.site.test/index.php", "soft_404"),
        (DEEP, "http://site.test/en/", "soft_404"),
        (DEEP, "http://site.test/404.html", "soft_404"),
        (DEEP, "http://site.test/errors/not-found", "soft_404"),
        (DEEP, "http://site.test/error.aspx", "error_page"),
        (DEEP, "http://site.test/are-you-human?url=x", "bot_wall"),
        (DEEP, "https://consent.site.test/v2/collect?to=x", "consent_wall"),
        (DEEP, "http://site.test/age-gate?next=/2009", "age_gate"),
        (DEEP, DEEP, None),
        (DEEP, "https://www.site.test/2009/05/a-story.html", None),
        (DEEP, "https://site.test/stories/a-story", None),
        # A shortener's link may well lead to a home page.
        ("http://short.test/x7", "http://site.test/", None),
        ("http://site.test/index.html", "http://site.test/", None),
        ("http://site.test/", "http://site.test/en/", None),
        # A page about errors is found where it was asked for.
        ("http://site.test/docs/404", "https://site.test/docs/404/", None),
    ],
)
def test_addresses_say_where_a_link_ended(url: str, final_url: str, kind: str | None) -> None:
    found = verdict(GENUINE["short"], url=url, final_url=final_url)
    assert (found and found.kind) == kind, found


def test_a_home_page_in_place_of_a_page_needs_two_marks() -> None:
    canonical = "<link rel=canonical href=http://site.test/>"
    og = '<meta property="og:url" content="http://www.site.test/">'
    body = GENUINE["short"]
    marks = SoftFailuresConfig(home_marks=True)
    assert verdict(canonical + og + body, marks) is not None
    assert verdict(canonical + og + body) is None
    assert verdict(canonical + body, marks) is None
    assert verdict(og + body, marks) is None
    home = {"url": "http://site.test/", "final_url": "http://site.test/"}
    assert verdict(canonical + og + body, marks, **home) is None


def named_home(html: str) -> bool:
    answer = StoredAnswer(url=DEEP, final_url=DEEP)
    return answers_as_home(answer, html, {"og:url": "http://site.test/"}) is not None


@pytest.mark.parametrize(("end", "found"), [(1499, True), (1500, True), (1501, False)])
def test_a_link_is_near_the_first_mention_of_its_kind(end: int, found: bool) -> None:
    """At the beginning of a page as well. The mention in the link itself comes later."""
    link = "<link rel=canonical href=http://site.test/>"
    assert named_home("canonical".ljust(end - len(link)) + link) is found


@pytest.mark.parametrize(("end", "found"), [(199_999, True), (200_000, True), (200_001, False)])
def test_200000_characters_are_searched_for_the_link_of_a_page(end: int, found: bool) -> None:
    before = "<link rel=canonical"
    html = " " * (end - len(before)) + before + " href=http://site.test/>"
    assert named_home(html) is found


def test_settings_keep_pages() -> None:
    kind, page = FAILURES["soft_404"]
    assert verdict(page, SoftFailuresConfig(remove=False)) is None
    assert verdict(page, SoftFailuresConfig(keep=(kind,))) is None
    vague = FAILURES["soft_404_said_otherwise"][1]
    assert verdict(vague, SoftFailuresConfig(threshold=1000.0)) is None


def test_a_status_and_a_header_judge_plain_text() -> None:
    config = SoftFailuresConfig()
    assert judge_answer(StoredAnswer(DEEP, DEEP, 200), config) is None
    missing = judge_answer(StoredAnswer(DEEP, DEEP, 404), config)
    assert missing is not None
    assert missing.kind == "soft_404"
    assert judge_answer(StoredAnswer(DEEP, DEEP, 404), SoftFailuresConfig(remove=False)) is None


def test_documents_are_judged_after_extraction_and_before_the_rules() -> None:
    document = document_function(CleanConfig())
    wall = FAILURES["rejected"][1].encode()
    page = Page(DEEP, DEEP, "text/html", None, wall)
    result = document(page)
    assert isinstance(result, Dropped)
    assert (result.reason, result.reason.step) == (Reason.BOT_WALL, "soft_failures")
    assert "request rejected" in (result.detail or "")

    kept = document_function(CleanConfig.model_validate({"soft_failures": {"remove": False}}))
    rest = kept(page)
    assert isinstance(rest, Dropped)
    assert rest.reason is Reason.TOO_SHORT
    assert isinstance(
        document(Page(DEEP, DEEP, "text/html", None, html("A", STORY).encode())), Document
    )


def test_every_phrase_is_found_in_a_page_that_holds_it() -> None:
    words = lexicon()
    for number, phrase in enumerate(words.phrases):
        if not phrase:
            continue
        data = normal(f"zq — “{phrase.upper()}”, zq")
        found, _ = evidence.matches(data, np.array([evidence.OPENING], np.int8), words)
        assert number in found[:, evidence.PHRASE], phrase
        assert words.num_words[number] == len(word_hashes(phrase)) <= evidence.MAX_PHRASE_WORDS
    assert words.groups.any(axis=0).sum() == len(GROUPS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("can’t", "CANT"),
        ("Página no encontrada", "pagina NO encontrada"),
        ("not&#32;found", "not found"),
        ("a<b>not</b> found", "a not found"),
        ("l’URL", "lurl"),
        ("soft\u00adhyphen", "softhyphen"),
        ("404—Not found!", "404 not found"),
        ("页面，不存在", "页面不存在"),
    ],
)
def test_words_have_one_form(one: str, other: str) -> None:
    assert word_hashes(one) == word_hashes(other)


def test_a_line_break_parts_phrases_and_time_is_linear() -> None:
    zones = np.array([evidence.TITLE, evidence.OPENING], np.int8)
    apart, _ = evidence.matches(normal("page\nnot found"), zones, lexicon())
    together, stats = evidence.matches(normal("page not found"), zones, lexicon())
    assert len(together) > len(apart)
    assert stats[evidence.TITLE, 2] >= 1
    long, _ = evidence.matches(normal("page not found " * 20_000), zones, lexicon())
    assert len(long) == evidence.MAX_MATCHES


def test_the_demo_plants_an_answer_of_each_kind() -> None:
    document = document_function(CleanConfig())
    assert set(soft_failures.ANSWERS) == set(KINDS)
    for reason in soft_failures.ANSWERS:
        result = document(Page(DEEP, DEEP, "text/html", None, soft_failures.page(reason)))
        assert isinstance(result, Dropped)
        assert str(result.reason) == reason, result


SPAM = (
    "Situs slot gacor dengan server luar negeri. Daftar slot dan judi online dengan deposit pulsa. "
    "Bandar togel, rtp slot, bonus new member. "
)


@pytest.mark.parametrize("length", [1, 60])
def test_a_doorway_page_of_any_length_is_hijacked(length: int) -> None:
    found = verdict(html("Link Slot Gacor Hari Ini", SPAM, *[STORY] * length, menu=False))
    assert found is not None
    assert found.kind == "hijacked"


@pytest.mark.parametrize(
    ("title", "opening"),
    [
        ("Police close gambling sites", SPAM),
        ("Inside the trade in slot gacor advertisements", "The phrase is on every dead site now."),
    ],
)
def test_a_report_about_doorway_pages_stays(title: str, opening: str) -> None:
    assert verdict(html(title, opening, *[STORY] * 9, menu=False)) is None
