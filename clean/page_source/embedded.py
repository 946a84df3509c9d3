"""The text of script-drawn pages: data for machines inside the page.

It is used only if the page itself shows next to nothing. JSON-LD (schema.org) comes first: an
`articleBody`, else the texts of a thread or of questions and answers. Then comes the state of
frameworks, in any JSON within a script or an attribute: of all lists and objects in it, the one
with most words in its own texts. Scripts other than JSON are searched for long strings.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any, Final
from urllib.parse import unquote

from clean.learned.markup import TAGS

# A page showing more words has a body of its own.
MAX_SHOWN_WORDS: Final = 60
# Least words of an embedded text.
MIN_WORDS: Final = 50
# Shorter strings of a state are labels and names, and no reason to choose their list.
MIN_STRING_WORDS: Final = 8
MAX_JSON_CHARS: Final = 4_000_000
MAX_DEPTH: Final = 60
_SCRIPT_START = re.compile(r"<script(?=[\s>])([^<>]*)>", re.I)
_SCRIPT_END = re.compile(r"</script", re.I)
_JSON_TYPE = re.compile(r"application/(?:[\w.+-]*json)|fastboot/shoebox", re.I)
_ASSIGNMENT = re.compile(
    r"\s*(?://[^\n]*\n\s*)?(?:(?:window|self|globalThis)\s*[.\[]|(?:var|let|const)\s)[^=;{}()]{1,80}=\s*"
)
_ENCODED = re.compile(r"(?:JSON\.parse\(\s*)?(decodeURIComponent\(\s*)?(?=[\"'`])")
_ATTRIBUTE = re.compile(
    r"\s(?:data-page|data-props|data-state|data-react-props|props)\s*=\s*"
    r"(?:\"(\s*(?:\{|&#123;)[^\"]*)\"|'(\s*(?:\{|&#123;)[^']*)')"
)
_FLIGHT = re.compile(r"\s*(?:self|window)\.__next_f\.push\(\[\s*1\s*,\s*(?=\")")
# A row of a flight's payload: long text, with its length in hexadecimal.
_FLIGHT_TEXT = re.compile(rb"^[\da-f]{1,8}:T([\da-f]{1,6}),", re.M)
_STRING = re.compile(r"\"((?:[^\"\\\n]|\\.){40,})\"")
_BODY = re.compile(r"\"articleBody\"\s*:\s*\"((?:[^\"\\]|\\.)*)\"", re.S)
# Objects of schema.org with the page's main content as their `text`.
_TEXT_TYPES: Final = frozenset(
    {"DiscussionForumPosting", "SocialMediaPosting", "Question", "Answer", "Comment"}
)
_TEXT_KEYS: Final = ("articleBody", "reviewBody", "text", "transcript")
_INLINE_KEYS: Final = ("content", "children", "nodes", "spans")
_LEAF_KEYS: Final = ("text", "value")
# Markup not in plain text by accident. An address in angle brackets is not markup.
_MARKUP = re.compile(
    r"<(?:!doctype\s|\?xml\s|!--|/[A-Za-z]|(?:" + "|".join(TAGS) + r")(?=[\s/>]))", re.I
)
_BREAK = re.compile(r"</(?:p|div|li|h[1-6]|blockquote|tr|section)>|<br\s*/?>", re.I)
_TAG = re.compile(r"</?[A-Za-z!][^<>]{0,2000}>")
_NOT_TEXT = re.compile(r"\s*(?:[{\[<]|https?://|data:|/)|[^\s]{200}")
_SENTENCE = re.compile(r"\w\S*\s+\S|.*\w.*[.!?:\u3002]\s*$", re.S)
_DIGITS = re.compile(r"\d+")
_CODE = re.compile(r"[{};]\s*$|=>|\bfunction\b|\breturn\b|^\s*(?:M|m)[\d.,-]+")


def is_plain(text: str) -> bool:
    """True for text without markup, sent as HTML. JSON is not text."""
    return text.lstrip()[:1] not in ("", "{", "[") and not _MARKUP.search(text)


def embedded_text(html: str) -> str:
    """The longest text in the page's data for machines, or empty."""
    bodies: list[str] = []
    threads: list[str] = []
    states: list[str] = []
    loose: list[str] = []
    flight: list[str] = []

    for attributes, content in _scripts(html):
        if "ld+json" in attributes:
            value = _parsed(content)
            bodies += _broken_bodies(content) if value is None else _texts(value, _article_body)
            threads.append("\n\n".join(_texts(value, _post)))
        elif found := _FLIGHT.match(content):
            flight.append(str(_parsed(content[found.end() :]) or ""))
        elif _JSON_TYPE.search(attributes):
            states.append(_largest_group(_parsed(content)))
        elif found := _ASSIGNMENT.match(content):
            value = _assigned(content, found.end())
            states.append(_largest_group(value) if value is not None else "")
            loose.append(_long_strings(content) if value is None else "")

    for double, single in _ATTRIBUTE.findall(html):
        states.append(_largest_group(_parsed(unescape(double or single))))
    loose.append(_flight_text("".join(flight)))

    for found_texts in (bodies, threads, states, loose):
        text = max(map(_plain, found_texts), key=len, default="")
        if len(text.split()) >= MIN_WORDS:
            return text

    return ""


def _scripts(html: str) -> Iterator[tuple[str, str]]:
    """(attributes, content) of each script short enough to read."""
    position = 0
    while start := _SCRIPT_START.search(html, position):
        end = _SCRIPT_END.search(html, start.end())
        position = end.start() if end else len(html)
        if position - start.end() <= MAX_JSON_CHARS:
            yield start[1], html[start.end() : position]


def _parsed(content: str) -> Any:
    """The first JSON object, list or string in a script, or None."""
    # A script may begin with `<!--` or `//<![CDATA[`.
    start = re.match(r"\s*(?:<!--|(?://|/\*)?\s*<!\[CDATA\[(?:\s*\*/)?)?\s*", content)
    begin = start.end() if start else 0
    if content[begin : begin + 1] not in ("{", "[", '"'):
        begin = min((n for n in (content.find("{"), content.find("[")) if n >= 0), default=-1)
    if begin < 0:
        return None

    try:
        return json.JSONDecoder(strict=False).raw_decode(content, begin)[0]
    except (ValueError, RecursionError):
        return None


def _assigned(content: str, position: int) -> Any:
    """The JSON behind an assignment: written out, or in a string parsed by the script."""
    found = _ENCODED.match(content, position)
    if not found:
        is_json = content[position : position + 1] in ("{", "[")
        return _parsed(content[position:]) if is_json else None

    quote = content[found.end()]
    string = re.compile(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}", re.S).match(content, found.end())
    if not string:
        return None
    text = _unescaped(string[1])
    return _parsed(unquote(text) if found[1] else text)


def _unescaped(literal: str) -> str:
    """The characters of the inside of a script's string."""
    inside = re.sub(r"\\(['`])", r"\1", literal)
    inside = re.sub(r"\\x([\da-fA-F]{2})", r"\\u00\1", inside)
    inside = re.sub(r'(?<!\\)((?:\\\\)*)"', r'\1\\"', inside)
    try:
        return str(json.loads(f'"{inside}"', strict=False))
    except ValueError:
        return literal


def _broken_bodies(content: str) -> list[str]:
    """The `articleBody` of malformed JSON-LD, such as one with a comma too much."""
    return [_unescaped(found) for found in _BODY.findall(content)]


def _texts(value: Any, own: Callable[[dict[str, Any]], list[str]], depth: int = 0) -> list[str]:
    """The own texts of all objects in JSON-LD, in order."""
    if depth > MAX_DEPTH:
        return []
    if isinstance(value, list):
        return [text for each in value for text in _texts(each, own, depth + 1)]
    if not isinstance(value, dict):
        return []
    return own(value) + _texts(list(value.values()), own, depth)


def _article_body(node: dict[str, Any]) -> list[str]:
    body = node.get("articleBody")
    return [body] if isinstance(body, str) else []


def _post(node: dict[str, Any]) -> list[str]:
    """The text of a post, a question or an answer."""
    kind = node.get("@type")
    kinds = {each for each in (kind if isinstance(kind, list) else [kind]) if isinstance(each, str)}
    keys = _TEXT_KEYS if kinds & _TEXT_TYPES else ("reviewBody", "transcript")
    return [text for key in keys if isinstance(text := node.get(key), str)][:1]


def _largest_group(value: Any) -> str:
    """The texts of the list or object with most words in a state.

    Short ones of the same place are part of them: headings, and paragraphs of a few words.
    """
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path, text in _strings(value, (), 0):
        groups[path].append(text)

    def weight(texts: list[str]) -> int:
        return sum(len(text) for text in texts if len(text.split()) >= MIN_STRING_WORDS)

    best = max(groups.values(), key=weight, default=[])
    return "\n\n".join(best) if weight(best) else ""


def _strings(
    value: Any, path: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path to the list or object that holds it, text) of each sentence, in order.

    Entries of a list, and objects with keys differing in a number, are together.
    """
    if depth > MAX_DEPTH:
        return

    if isinstance(value, str):
        if value[:1] in ("{", "[") and len(value) > MIN_WORDS:
            yield from _strings(_parsed(value), path, depth + 1)
        elif value.lstrip().startswith("<") or not _NOT_TEXT.match(value):
            text = value if "<" not in value else _TAG.sub(" ", value)
            if _SENTENCE.match(text.strip()):
                yield path, value
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each, path, depth + 1)
    elif isinstance(value, dict):
        if (line := _line(value)) is not None:
            yield path, line
            return
        for key, each in value.items():
            yield from _strings(each, (*path, _DIGITS.sub("#", key)), depth + 1)


def _line(node: dict[str, Any]) -> str | None:
    """The text of an editor's paragraph. Its parts of one style are nodes of their own."""
    for key in _INLINE_KEYS:
        parts = node.get(key)
        if not isinstance(parts, list) or not parts:
            continue
        texts = [_leaf(part) for part in parts]
        if all(text is not None for text in texts):
            return "".join(text for text in texts if text)
    return None


def _leaf(part: Any) -> str | None:
    """The text of a node without nodes of its own."""
    if not isinstance(part, dict) or any(part.get(key) for key in _INLINE_KEYS):
        # A link within the line.
        return _line(part) if isinstance(part, dict) else None
    kind = part.get("type", part.get("_type", part.get("nodeType")))
    if kind not in (None, "text", "span"):
        return "\n" if kind in ("hardBreak", "hard_break", "br") else None
    return next((part[key] for key in _LEAF_KEYS if isinstance(part.get(key), str)), None)


def _long_strings(content: str) -> str:
    """The sentences in the strings of a script that is not JSON."""
    found = (_unescaped(text) for text in _STRING.findall(content))
    return "\n\n".join(text for text in found if _is_prose(text))


def _is_prose(text: str) -> bool:
    if len(text.split()) < MIN_STRING_WORDS or _CODE.search(text[:300]):
        return False
    return text.lstrip().startswith("<") or not _NOT_TEXT.match(text)


def _flight_text(payload: str) -> str:
    """The sentences of a server component's payload: long texts as they are, others as strings."""
    data = payload.encode("utf-8", "replace")
    pieces: list[str] = []
    done = 0
    for found in _FLIGHT_TEXT.finditer(data):
        if found.start() < done:
            continue
        # The length counts bytes.
        end = found.end() + int(found[1], 16)
        text = data[found.end() : end].decode("utf-8", "ignore")
        before = data[done : found.start()].decode("utf-8", "ignore")
        pieces += _long_strings(before), text if _is_prose(text) else ""
        done = end

    rest = _long_strings(data[done:].decode("utf-8", "ignore"))
    return "\n\n".join(piece for piece in (*pieces, rest) if piece)


def _plain(text: str) -> str:
    """`text` without markup, a line for each block. Markup may be escaped once more."""
    for _ in range(2):
        text = unescape(_TAG.sub("", _BREAK.sub("\n\n", text)) if "<" in text else text)
        if not _BREAK.search(text):
            break
    paragraphs = (" ".join(line.split()) for line in text.split("\n"))
    return "\n\n".join(line for line in paragraphs if line)
