"""An allow-list for `tokenizer.json`: every feature outside it is refused by its name.

Ids are pinned for as long as the corpus lives, so a feature ignored by the encoder must never pass.
The lists below name every component and field compared with the `tokenizers` library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from corpus.errors import InputError
from shards.tokenizer.byte_spelling import CHAR_OF_BYTE, spell

MAX_IDS = 1 << 24
TOP_LEVEL = {
    "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
    "post_processor", "decoder", "model",
}  # fmt: skip
ADDED_TOKEN = {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}
# Lowercase, StripAccents and BertNormalizer are left out: they lose what a language model should
# learn.
NORMALIZERS: dict[str, set[str]] = {
    "NFC": set(),
    "NFD": set(),
    "NFKC": set(),
    "NFKD": set(),
    "Nmt": set(),
    "Precompiled": {"precompiled_charsmap"},
    "Prepend": {"prepend"},
    "Replace": {"pattern", "content"},
    "Sequence": {"normalizers"},
    "Strip": {"strip_left", "strip_right"},
}
# Whitespace, WhitespaceSplit, CharDelimiterSplit and BertPreTokenizer are left out: they lose
# white space.
PRE_TOKENIZERS: dict[str, set[str]] = {
    "ByteLevel": {"add_prefix_space", "trim_offsets", "use_regex"},
    "Digits": {"individual_digits"},
    "Metaspace": {"replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"},
    "Punctuation": {"behavior"},
    "Sequence": {"pretokenizers"},
    "Split": {"pattern", "behavior", "invert"},
    "UnicodeScripts": set(),
}
POST_PROCESSORS: dict[str, set[str]] = {
    "BertProcessing": {"sep", "cls"},
    "ByteLevel": {"add_prefix_space", "trim_offsets", "use_regex"},
    "RobertaProcessing": {"sep", "cls", "trim_offsets", "add_prefix_space"},
    "Sequence": {"processors"},
    "TemplateProcessing": {"single", "pair", "special_tokens"},
}
DECODERS: dict[str, set[str]] = {
    "BPEDecoder": {"suffix"},
    "ByteFallback": set(),
    "ByteLevel": {"add_prefix_space", "trim_offsets", "use_regex"},
    "Fuse": set(),
    "Metaspace": {"replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"},
    "Replace": {"pattern", "content"},
    "Sequence": {"decoders"},
    "Strip": {"content", "start", "stop"},
}
MODELS: dict[str, set[str]] = {
    "BPE": {
        "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
        "byte_fallback", "ignore_merges", "vocab", "merges",
    },
    "Unigram": {"unk_id", "vocab", "byte_fallback"},
}  # fmt: skip
# Fields of a BPE model, used by training and other encoders, with an effect on ids.
MUST_BE_EMPTY = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
NESTED = ("normalizers", "pretokenizers", "processors", "decoders")


def components(component: Any) -> Iterator[Mapping[str, Any]]:
    """A component of the document, or those of a `Sequence`, in order of application."""
    if not component:
        return

    if component["type"] == "Sequence":
        for name in NESTED:
            for each in component.get(name, ()):
                yield from components(each)
    else:
        yield component


def check_document(document: Any, source: str) -> None:
    """Check the features of `document` and its ability to encode any text.

    Raises: InputError naming the feature.
    """
    if not isinstance(document, Mapping):
        raise ValueError(f"expected an object, found {type(document).__name__}")

    _check_fields(document, TOP_LEVEL, source, "the document")
    for name in ("truncation", "padding"):
        if document.get(name):
            raise _unknown(source, f"{name} {document[name]}", "null: documents are never cut")

    parts = (
        ("normalizer", NORMALIZERS),
        ("pre_tokenizer", PRE_TOKENIZERS),
        ("post_processor", POST_PROCESSORS),
        ("decoder", DECODERS),
    )
    for name, known in parts:
        if document.get(name):
            _check_component(document[name], known, source, name)

    _check_pre_tokenizer(document, source)
    _check_model(document["model"], source)
    _check_ids(document, source)
    _check_post_processor(document, source)
    _check_coverage(document, source)


def _check_component(
    component: Mapping[str, Any], known: Mapping[str, set[str]], source: str, name: str
) -> None:
    kind = component.get("type")
    if not isinstance(kind, str) or kind not in known:
        raise _unknown(source, f"{name} {kind}", f"one of {', '.join(known)}")

    _check_fields(component, known[kind] | {"type"}, source, f"{name} {kind}")
    for field in NESTED:
        for each in component.get(field, ()):
            _check_component(each, known, source, name)


def _check_pre_tokenizer(document: Mapping[str, Any], source: str) -> None:
    """Refuse rules dropping text between their matches."""
    for each in components(document.get("pre_tokenizer")):
        behavior = each.get("behavior", "Isolated")
        if behavior == "Removed" and not (each["type"] == "Split" and each.get("invert")):
            raise _unknown(
                source,
                f"pre_tokenizer {each['type']} with behavior Removed",
                "one that keeps all text",
            )


def _check_model(model: Mapping[str, Any], source: str) -> None:
    # Files of the first versions of the format leave the type of a BPE model out.
    kind = model["type"]
    if kind not in MODELS:
        raise _unknown(source, f"model {kind}", f"one of {', '.join(MODELS)}")

    _check_fields(model, MODELS[kind] | {"type"}, source, f"model {kind}")
    for name in MUST_BE_EMPTY:
        if model.get(name):
            raise _unknown(source, f"model {kind} with {name} {model[name]!r}", "none")

    if kind != "BPE":
        return

    vocab = model["vocab"]
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        if left not in vocab or right not in vocab or left + right not in vocab:
            raise InputError(
                f"{source}: merge {left} {right} names a token that the vocabulary lacks"
            )


def _check_ids(document: Mapping[str, Any], source: str) -> None:
    """Every id is a whole number and names one token."""
    model = document["model"]
    if model["type"] == "Unigram":
        ids = {piece: index for index, (piece, _) in enumerate(model["vocab"])}
        if len(ids) != len(model["vocab"]):
            raise InputError(f"{source}: a piece of the vocabulary appears twice")
    else:
        ids = dict(model["vocab"])

    for token in document.get("added_tokens") or ():
        _check_fields(token, ADDED_TOKEN, source, f"added token {token.get('content')!r}")
        content, index = token["content"], token["id"]
        if ids.setdefault(content, index) != index:
            raise InputError(
                f"{source}: token {content} has id {ids[content]} in the vocabulary and {index} "
                "in added_tokens"
            )

    wrong = [
        (token, index)
        for token, index in ids.items()
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < MAX_IDS
    ]
    if wrong:
        raise InputError(
            f"{source}: token {wrong[0][0]} has id {wrong[0][1]!r}; expected 0 to {MAX_IDS - 1}"
        )
    if len(set(ids.values())) != len(ids):
        raise InputError(f"{source}: two tokens have one id; expected each id once")


def _check_post_processor(document: Mapping[str, Any], source: str) -> None:
    """A template frames one text with special tokens and names their ids."""
    known = {token["id"] for token in document.get("added_tokens") or ()}
    for each in components(document.get("post_processor")):
        if each["type"] == "TemplateProcessing":
            named = [piece for piece in each["single"] if "Sequence" in piece]
            if [piece["Sequence"]["id"] for piece in named] != ["A"]:
                raise _unknown(
                    source, "a template without one $A", "one text between special tokens"
                )
            ids = [index for token in each["special_tokens"].values() for index in token["ids"]]
        elif each["type"] != "ByteLevel":
            ids = [each["cls"][1], each["sep"][1]]
        else:
            ids = []

        if unknown := set(ids) - known:
            raise InputError(
                f"{source}: post_processor {each['type']} adds id {min(unknown)}, which is not an "
                "added token"
            )


def _check_coverage(document: Mapping[str, Any], source: str) -> None:
    """Any text has ids: every byte has a token, or characters without one become bytes or `unk`."""
    model = document["model"]
    names = {each["type"] for each in components(document.get("pre_tokenizer"))}
    if model["type"] == "BPE" and "ByteLevel" in names:
        missing = [byte for byte, char in CHAR_OF_BYTE.items() if char not in model["vocab"]]
        if missing:
            raise InputError(
                f"{source}: no token for byte 0x{min(missing):02x} "
                f"({spell(bytes([min(missing)]))}; "
                f"{len(missing)} bytes without): not a byte-level vocabulary"
            )
        return

    tokens = (
        {piece for piece, _ in model["vocab"]} if model["type"] == "Unigram" else model["vocab"]
    )
    if model.get("byte_fallback"):
        missing = [byte for byte in range(256) if f"<0x{byte:02X}>" not in tokens]
        if missing:
            raise InputError(f"{source}: byte_fallback without the token <0x{missing[0]:02X}>")
        return

    unknown = model.get("unk_token") if model["type"] == "BPE" else model.get("unk_id")
    if unknown is None:
        raise _unknown(
            source,
            f"model {model['type']} without ByteLevel, byte_fallback and unknown token",
            "one that encodes any text",
        )


def _check_fields(found: Mapping[str, Any], known: set[str], source: str, what: str) -> None:
    if unknown := sorted(found.keys() - known):
        raise _unknown(
            source, f"{what} with {unknown[0]!r}", f"no fields but {', '.join(sorted(known))}"
        )


def _unknown(source: str, feature: str, expected: str) -> InputError:
    return InputError(f"{source}: {feature} is not supported; expected {expected}")
