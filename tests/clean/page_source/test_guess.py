"""Charsets of pages that nobody labelled."""

from __future__ import annotations

import pytest

from clean.page_source import guess as guess_module
from clean.page_source.decode import CharsetSource, decode, detect
from clean.page_source.guess import guess

POLISH = (
    "Rada miasta zdecydowała wczoraj, że most przez rzekę zostanie zamknięty do końca roku. "
    "Mieszkańcy dzielnicy są oburzeni, gdyż żadna z gazet nie pisała o tym wcześniej."
)
CZECH = (
    "Zastupitelstvo města včera rozhodlo, že most přes řeku bude do konce roku uzavřen. Obyvatelé "
    "čtvrti jsou pobouřeni, protože žádné noviny o tom dříve nepsaly."
)
HUNGARIAN = (
    "A városi tanács tegnap úgy döntött, hogy a folyó feletti hidat az év végéig lezárják. A "
    "környék lakói felháborodtak, mert korábban egyetlen újság sem írt erről."
)
CROATIAN = (
    "Gradsko vijeće jučer je odlučilo da će most preko rijeke biti zatvoren do kraja godine. "
    "Građani su ogorčeni, jer nijedne novine o tome prije nisu pisale, a šteta je već učinjena."
)
TURKISH = (
    "Belediye meclisi dün köprünün yıl sonuna kadar kapatılmasına karar verdi. Mahalle sakinleri "
    "öfkeli, çünkü daha önce hiçbir gazete bunu yazmamıştı. İşçiler şaşkın, ağaçlar kesiliyor."
)
LITHUANIAN = (
    "Miesto taryba vakar nusprendė, kad tiltas per upę bus uždarytas iki metų pabaigos. Gyventojai "
    "pasipiktinę, nes joks laikraštis apie tai anksčiau nerašė, o žala jau padaryta."
)
RUSSIAN = (
    "Городской совет вчера решил, что мост через реку будет закрыт до конца года. Жители района "
    "возмущены, так как ни одна газета об этом раньше не писала."
)
UKRAINIAN = (
    "Міська рада вчора вирішила, що міст через річку буде закритий до кінця року. Мешканці району "
    "обурені, бо жодна газета про це раніше не писала."
)
GREEK = (
    "Το δημοτικό συμβούλιο αποφάσισε χθες ότι η γέφυρα πάνω από το ποτάμι θα κλείσει μέχρι το "
    "τέλος του έτους. Άλλοι κάτοικοι της συνοικίας είναι αγανακτισμένοι."
)
HEBREW = "מועצת העיר החליטה אתמול כי הגשר מעל הנהר ייסגר עד סוף השנה. תושבי השכונה זועמים."
ARABIC = "قرر مجلس المدينة أمس إغلاق الجسر فوق النهر حتى نهاية العام. سكان الحي غاضبون جدا."
THAI = "สภาเมืองตัดสินใจเมื่อวานนี้ว่าสะพานข้ามแม่น้ำจะถูกปิดจนถึงสิ้นปี ชาวบ้านในละแวกนั้นโกรธมาก"
CHINESE = (
    "市议会昨天决定，河上的大桥将关闭到年底。附近的居民非常气愤，因为此前没有报纸报道过这件事。"
)
JAPANESE = "市議会は昨日、川にかかる橋を年末まで閉鎖することを決めた。近所の住民は怒っている。"
KOREAN = "시의회는 어제 강 위의 다리를 연말까지 폐쇄하기로 결정했다. 주민들은 분노하고 있다."
GERMAN = (
    "Der Stadtrat möchte die Brücke über den Fluß schließen; größere Schäden fürchtet er nicht."
)
FRENCH = "Le conseil a décidé que le pont sera fermé, là où l'été n'a pas été très sûr, à présent."
SPANISH = "¿Qué pasó ayer? El ayuntamiento decidió que el puente se cerrará mañana, según el señor."
ENGLISH = "The café’s owner – a señor from São Paulo – paid £50 for a 30° day’s “work” at 10µm² ©."

SAMPLES = [
    (POLISH, ("iso8859-2", "cp1250")),
    (CZECH, ("iso8859-2", "cp1250")),
    (HUNGARIAN, ("iso8859-2", "cp1250")),
    (CROATIAN, ("iso8859-2", "cp1250")),
    (TURKISH, ("iso8859-9", "cp1254")),
    (LITHUANIAN, ("iso8859-13", "cp1257")),
    (RUSSIAN, ("cp1251", "koi8-r", "iso8859-5", "cp866")),
    (UKRAINIAN, ("cp1251", "koi8-u")),
    (GREEK, ("iso8859-7", "cp1253")),
    (HEBREW, ("iso8859-8", "cp1255")),
    (ARABIC, ("iso8859-6", "cp1256")),
    (THAI, ("cp874",)),
    (GERMAN, ("cp1252",)),
    (FRENCH, ("cp1252",)),
    (SPANISH, ("cp1252",)),
    (ENGLISH, ("cp1252",)),
    (CHINESE, ("gb18030",)),
    (JAPANESE, ("shift_jis", "euc_jp")),
    (KOREAN, ("euc_kr",)),
]


@pytest.mark.parametrize(
    ("text", "charset"), [(text, charset) for text, names in SAMPLES for charset in names]
)
def test_a_page_without_a_label_is_read_in_the_charset_of_its_language(
    text: str, charset: str
) -> None:
    page = f"<html><head><title>x</title></head><body><p>{text}</p></body></html>"
    found = decode(page.encode(charset))
    assert text in found.text
    assert found.source is CharsetSource.DETECTOR


@pytest.mark.parametrize("text", [POLISH, HUNGARIAN, RUSSIAN, GREEK])
def test_menus_and_scripts_in_ascii_do_not_hide_the_language(text: str) -> None:
    menu = "<a href=/about.html>About us</a> <a href=/contact.html>Contact</a>" * 100
    script = f"<script>{'var settings = 1; ' * 20_000}</script>"
    charset = {POLISH: "iso8859-2", HUNGARIAN: "cp1250", RUSSIAN: "koi8-r", GREEK: "iso8859-7"}
    page = f"<html>{script}<body>{menu}<p>{text}</p></body></html>"
    assert text in decode(page.encode(charset[text])).text


def test_a_few_foreign_letters_make_no_page_foreign() -> None:
    """`ñ` and `ê` would be Polish in windows-1250; a page with two of them is a western one."""
    quoted = "It was the jalapeño, then a tête-à-tête, © 2020 • all rights reserved."
    assert decode(quoted.encode("cp1252")).text == quoted
    assert guess(
        "one · two · three · four · five · six · seven · eight · nine".encode("cp1252")
    ) in (
        None,
        "cp1252",
    )


def test_a_label_is_stronger_than_a_guess() -> None:
    page = f"<meta charset=windows-1250><p>{POLISH}</p>".encode("iso8859-2")
    assert decode(page).charset == "cp1250"


LETTERS = "оеаинтсрвлк"  # frequent in Russian


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("оеаино", 0.0),
        ("оеаиное", 0.0),
        ("оеаиноеа", 1.0),  # 8 letters, 5 kinds
        ("оеаиоеаи", 0.0),  # 4 kinds
        ("Ёеаиноеа", 1.0),  # the first of the range
        ("\u045fеаиноеа", 1.0),  # the last
        ("\u0400еаиноеа", 0.0),
        ("\u0460еаиноеа", 0.0),
        ("— «оеаиноеа» …", 1.0),  # punctuation is at home anywhere
        ("оеаиноеа °±", 0.8),
        ("оеаиноеаxx", 7 / 8),  # beside a letter of ASCII
        ("оеаиноеа о", 8 / 9),  # alone
        ("яюэьыцхфцчшщ", 0.0),  # letters of Russian, in other numbers than usual
    ],
)
def test_the_share_of_a_script(text: str, share: float) -> None:
    assert guess_module._in_script(text, guess_module._SCRIPTS[0]) == pytest.approx(share)


@pytest.mark.parametrize("charset", ["cp1251", "koi8-u"])
def test_ukrainian_is_known_by_its_own_letters(charset: str) -> None:
    """Those that the Russian charset of the same bytes has lines of boxes for."""
    assert guess(UKRAINIAN.encode(charset)) == charset


@pytest.mark.parametrize(("mixed", "found"), [(2, "cp1251"), (3, "cp1251"), (4, None)])
def test_a_text_in_a_script_has_85_percent_of_it(mixed: int, found: str | None) -> None:
    """Of twenty letters: each of the short words has one beside a letter of ASCII."""
    words = [*("xоо" for _ in range(mixed)), (LETTERS * 2)[: 20 - 2 * mixed]]
    assert guess(" ".join(words).encode("cp1251")) == found


@pytest.mark.parametrize(
    ("wrong", "misplaced", "share"),
    [(0, 0, 1.0), (1, 0, 0.9), (0, 1, 0.9), (2, 1, 0.7), (9, 9, 0.0)],
)
def test_the_share_that_a_language_explains(wrong: int, misplaced: int, share: float) -> None:
    """Of ten characters; signs that are no letters are wrong nowhere, quotation marks do not count."""
    polish = next(each for each in guess_module._LANGUAGES if "ł" in each.letters)
    foreign = "ß" * wrong + ("ąćęłĄĆĘŁ§°"[: 10 - wrong]) + "“”"
    assert guess_module._explained(foreign, misplaced, polish) == pytest.approx(share)
    assert guess_module._explained("“”", misplaced, polish) == 1.0


@pytest.mark.parametrize(
    ("kinds", "letters", "found"), [(5, 8, True), (5, 7, False), (4, 8, False), (9, 9, True)]
)
@pytest.mark.parametrize(
    ("frequent", "codec"), [("的一是不了在人有我", "gb18030"), ("이다는을의에가지고", "cp949")]
)
def test_an_east_asian_text_has_eight_letters_of_five_kinds(
    frequent: str, codec: str, kinds: int, letters: int, found: bool
) -> None:
    text = (frequent[:kinds] * 2)[:letters]
    assert guess_module._of_east_asia(text.encode(codec)) == (codec if found else None)


@pytest.mark.parametrize(("bad", "found"), [(0, True), (2, True), (3, False)])
def test_an_east_asian_text_has_one_percent_of_bad_characters_and_one_more(
    bad: int, found: bool
) -> None:
    text = ("이다는을의에가지고" * 12)[:100].encode("cp949") + b"\xff " * bad
    assert guess_module._of_east_asia(text) == ("cp949" if found else None)


def rare(codec: str, frequent: str) -> list[str]:
    """Characters of a charset that are not frequent in its language."""
    found = []
    for number in range(0xB0, 0xC9):
        for second in range(0xA1, 0xFE):
            sign = bytes((number, second)).decode(codec, "ignore")
            if len(sign) == 1 and sign.isalpha() and sign not in frequent:
                found.append(sign)
    return found


@pytest.mark.parametrize(("beyond", "found"), [(-1, False), (0, True), (1, True)])
@pytest.mark.parametrize(
    ("frequent", "least", "codec"),
    [
        ("的一是不了在人有我他", 10, "gb18030"),
        ("的一是不了在人有我他", 10, "big5hkscs"),
        ("あいうえおかきくけこ", 25, "euc_jp"),
        ("あいうえおかきくけこ", 25, "cp932"),
        ("이다는을의에가지고하", 15, "cp949"),
    ],
)
def test_half_of_the_usual_share_of_frequent_characters_is_enough(
    frequent: str, least: int, codec: str, beyond: int, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a hundred Chinese characters 20 are usual, of Japanese 50, of Korean 30."""
    own = [each for each in guess_module._EAST_ASIAN if each[2] == codec]
    monkeypatch.setattr(guess_module, "_EAST_ASIAN", own)
    common = (frequent * 3)[: least + beyond]
    others = rare("euc_jp" if codec == "cp932" else codec, own[0][0])
    text = common + "".join(others[: 100 - len(common)])
    assert len(text) == 100
    assert guess_module._of_east_asia(text.encode(codec)) == (codec if found else None)


@pytest.mark.parametrize(
    ("foreign", "codec"), [(0, "cp1250"), (1, "cp1250"), (2, "cp1250"), (3, "cp1252")]
)
def test_a_language_of_98_percent_is_preferred_to_a_mixture(foreign: int, codec: str) -> None:
    """Of a hundred letters. In windows-1252 each is one of some western language."""
    letters = ("ćęńóśź" * 17)[: 100 - foreign] + "é" * foreign
    assert guess(" ".join(letters).encode("cp1250")) == codec


def test_of_equals_the_first_charset_is_taken() -> None:
    """Both charsets of Polish have these letters, and windows-1250 has more pages."""
    sample = " ".join("ćęńó" * 3).encode("cp1250")
    assert sample == sample.decode("iso8859-2").encode("cp1250")
    assert guess(sample) == "cp1250"


@pytest.mark.parametrize(("beyond", "codec"), [(-1, "cp1250"), (0, "cp1250"), (1, "cp1252")])
def test_a_mebibyte_is_searched_for_letters(beyond: int, codec: str) -> None:
    """Polish needs all eight of them, the last of which ends just there."""
    text = " ".join("ćęńóśźćę").encode("cp1250")
    head = b"<script>".ljust((1 << 20) + beyond - len(text) - len(b"</script>"), b"x")
    assert detect(head + b"</script>" + text) == codec


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        (HEBREW, "cp1255"),
        (ARABIC, "cp1256"),
        (THAI, "cp874"),
        (GREEK, "cp1253"),
        (RUSSIAN, "cp1251"),
    ],
)
def test_a_script_is_guessed_without_the_detector(text: str, charset: str) -> None:
    assert guess(text.encode(charset)) == charset


def test_of_equal_charsets_of_a_script_the_first_is_taken() -> None:
    """These letters are the same and frequent in Russian and Ukrainian, koi8-r and koi8-u."""
    assert guess("она нас свела в кино на канале и в театр".encode("koi8-r")) == "koi8-r"


@pytest.mark.parametrize(("letters", "found"), [(8, None), (9, "cp1252"), (10, "cp1252")])
def test_nine_letters_of_ten_are_enough_for_a_language(letters: int, found: str | None) -> None:
    """The byte 0x81 is a letter of none of them."""
    assert guess(b"caf\xe9 " * letters + b"\x81") == found


@pytest.mark.parametrize(
    ("sign", "is_kana"),
    [("\u3041", True), ("\u3042", True), ("\u30fb", True), ("\u30fc", True), ("\u30fd", False)],
)
def test_the_syllabaries(sign: str, is_kana: bool) -> None:
    """From small a to the mark of a long vowel; the marks of repetition are not counted."""
    assert (sign in guess_module._KANA) is is_kana
