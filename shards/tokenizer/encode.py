"""Text to token ids and back, by the corpus' one pinned vocabulary.

Text is never searched for special tokens: a page spelling `<|endoftext|>` keeps it as text, and the
id of end-of-text appears only where a document ends. Ids are those of the `tokenizers` library. The
`gigatoken` library gives the same ids some hundred times faster; it is used if it is installed,
knows the vocabulary, and encodes a probe text equally.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from corpus.errors import InputError, Interrupted
from corpus.json_values import json_value
from corpus.storage.store import Store
from shards.tokenizer.fast_forms import is_fast_form, token_probes
from shards.tokenizer.unsettled import unsettled_rows
from shards.tokenizer.vocabulary import END_OF_TEXT, Vocabulary

log = logging.getLogger(__name__)

TOKENIZER_PATH = "tokenizer/tokenizer.json"
RECORD_PATH = "tokenizer/source.json"
# Text after which a `gigatoken` encoder is replaced: its cache keeps each new word, some 10 bytes
# a byte of text.
RENEW_BYTES = 512 << 20
# Everything else that the libraries raise is about a document. Their panics are no `Exception`, so
# `BaseException` is caught behind these.
STOPS = (KeyboardInterrupt, SystemExit, Interrupted, MemoryError)
# Text in which split rules and normalisers differ.
PROBE = (
    "Hello  world, it's 2026!\n\n\tDON'T 12345 \u00bd x\u00b2 na\u00efve e\u0301 \u212b \u01c5 "
    "\ufb01 \u6771\u4eac\u30c6\u30b9\u30c8"
    " \u0e01\u0e47 \u0939\u093f\u0928\u094d\u0926\u0940 "
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \u2581x \u200b\ufeff\u0085\u3000 \r\n  end </s> "
    "<s>\x00\x7f  <|endoftext|>  "
    "\u1e9b\u0323 \u0343 \uac00\u11a8 \u017f 's 'S '\u017f a/b//\n\n  ..;; "
    "\u0661\u0662\u0663\u0664 ABCdef iPhone McDonald'S "
)


class Encoder(Protocol):
    """Ids of the texts of an Arrow array, one after another, and the number of ids of each."""

    def __call__(self, texts: Any) -> tuple[np.ndarray, np.ndarray]: ...


class Tokenizer:
    """A vocabulary and the encoder for it. Safe for several threads."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.vocab_size = vocabulary.size
        self.end_of_text = vocabulary.end_of_text
        self.fingerprint = vocabulary.fingerprint

    def encode(self, text: str) -> list[int]:
        """Ids of one text.

        Raises UnicodeEncodeError for lone surrogates: no Unicode text holds them.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""
        if not len(texts):
            return []
        ids, counts = self.encode_array(pa.array(texts, pa.large_string()))
        return [piece.tolist() for piece in np.split(ids, np.cumsum(counts)[:-1])]

    def encode_array(
        self, texts: Any, *, end_of_text: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids of an Arrow string array, one text after another.

        With `end_of_text` each is a whole document: framed as the vocabulary's post-processor
        frames a text, then ended. Returns: ids (t,) uint32, number of ids per text (n,) int64.
        """
        if texts.null_count:
            raise InputError("a text is null; documents always have text")
        if len(texts) == 0:
            return np.zeros(0, np.uint32), np.zeros(0, np.int64)

        ids, counts = self._encoder(texts)
        if not end_of_text:
            return ids, counts

        before, after = self._document_frame
        return _framed(ids, counts, before, after)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; half a character, as a model may end with, becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of `ids`. Raises InputError for an id outside the vocabulary."""
        known = list(ids)
        try:
            tokens = [self.tokens[index] for index in known]
        except KeyError as error:
            raise InputError(
                f"token id {error.args[0]}: the vocabulary has 0..{self.vocab_size - 1}"
            ) from None

        if self.vocabulary.is_byte_level:
            return b"".join(tokens)

        text: str = self._library.decode(known, skip_special_tokens=False)
        return text.encode()

    def document_text(self, ids: Sequence[int]) -> str:
        """The text of a whole document, its frame and end-of-text left out."""
        before, after = self._document_frame
        return self.decode(ids[len(before) : len(ids) - len(after)])

    @cached_property
    def _document_frame(self) -> tuple[list[int], list[int]]:
        before, after = self.vocabulary.frame
        ended = after[-1:] == [self.end_of_text]
        return before, after if ended else [*after, self.end_of_text]

    @cached_property
    def tokens(self) -> dict[int, bytes]:
        """Bytes of each id; of a SentencePiece vocabulary as it spells its pieces."""
        if self.vocabulary.is_byte_level:
            return self.vocabulary.token_bytes
        return {index: token.encode() for token, index in self.vocabulary.token_ids.items()}

    @cached_property
    def _library(self) -> Any:
        import tokenizers

        return tokenizers.Tokenizer.from_str(self.vocabulary.to_json())

    @cached_property
    def _encoder(self) -> Encoder:
        return choose_encoder(self.vocabulary)


class ReferenceEncoder:
    """Encodes by the `tokenizers` library."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        import tokenizers

        self._library = tokenizers.Tokenizer.from_str(vocabulary.encoder_json)

    def __call__(self, texts: Any) -> tuple[np.ndarray, np.ndarray]:
        try:
            encodings = self._library.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        except STOPS:
            raise
        except BaseException as error:
            raise InputError(
                f"tokenizer.json: `tokenizers` cannot encode a text with it ({error}); use a "
                "document without this combination of features"
            ) from error

        lists = [encoding.ids for encoding in encodings]
        counts = np.array([len(ids) for ids in lists], np.int64)
        return np.fromiter((i for ids in lists for i in ids), np.uint32, int(counts.sum())), counts


class FastEncoder:
    """Encodes by the `gigatoken` library, or by the reference if their Unicode tables may differ.

    Raises: ValueError for a vocabulary unknown to `gigatoken`.
    """

    def __init__(self, vocabulary: Vocabulary, reference: ReferenceEncoder) -> None:
        self._document = vocabulary.encoder_json
        self._reference = reference
        self._bytes_left = 0
        self._library: Any = None
        self._renew()

    def __call__(self, texts: Any) -> tuple[np.ndarray, np.ndarray]:
        rows = unsettled_rows(texts)
        if not rows.size:
            return self._encode(texts)

        fast, slow = np.setdiff1d(np.arange(len(texts)), rows), rows
        made = [self._encode(texts.take(fast)), self._reference(texts.take(slow))]
        counts = np.zeros(len(texts), np.int64)
        for where, (_, lengths) in zip((fast, slow), made, strict=True):
            counts[where] = lengths
        is_slow = np.zeros(len(texts), bool)
        is_slow[slow] = True
        from_slow = np.repeat(is_slow, counts)
        ids = np.empty(len(from_slow), np.uint32)
        ids[~from_slow], ids[from_slow] = made[0][0], made[1][0]

        return ids, counts

    def _encode(self, texts: Any) -> tuple[np.ndarray, np.ndarray]:
        if len(texts) == 0:
            return np.zeros(0, np.uint32), np.zeros(0, np.int64)

        if self._bytes_left < 0:
            self._renew()
        self._bytes_left -= texts.nbytes

        # One text at a time: a batch comes as an array of `awkward`, and importing that takes .6 s.
        rows = [self._library.encode(text) for text in texts.to_pylist()]
        return np.concatenate(rows), np.array([len(row) for row in rows], np.int64)

    def _renew(self) -> None:
        import gigatoken

        self._library = gigatoken.Tokenizer.from_json(self._document)
        self._bytes_left = RENEW_BYTES


def choose_encoder(vocabulary: Vocabulary) -> Encoder:
    """The fast encoder if it gives the reference's ids for `PROBE`, else the reference.

    Raises: InputError if neither library is installed or the vocabulary cannot be loaded.
    """
    try:
        reference = ReferenceEncoder(vocabulary)
    except ImportError as error:
        raise InputError(
            f"the `tokenizers` library is not installed ({error}); run `pip install "
            "webtext[shards]`"
        ) from error
    except STOPS:
        raise
    except BaseException as error:
        raise InputError(f"tokenizer.json: `tokenizers` cannot load it ({error})") from error

    document = json_value(vocabulary.encoder_json)
    probes = pa.array([PROBE, f"  {PROBE}", *PROBE.split(" "), *token_probes(document)])
    expected = reference(probes)
    if not is_fast_form(document):
        return reference

    fast: Encoder
    try:
        fast = FastEncoder(vocabulary, reference)
        same = all(np.array_equal(*pair) for pair in zip(fast(probes), expected, strict=True))
    except STOPS:
        raise
    except BaseException as error:
        log.debug("gigatoken cannot encode this vocabulary: %s", error)
        same = False

    return fast if same else reference


def load_tokenizer(store: Store) -> Tokenizer:
    """The corpus' pinned tokenizer. Raises InputError if none is pinned yet."""
    try:
        data = store.read_bytes(TOKENIZER_PATH)
    except FileNotFoundError:
        raise InputError(
            f"{store.root}: no {TOKENIZER_PATH}; run `webtext shards --corpus {store.root} "
            "--batch B` first"
        ) from None

    try:
        return parse_tokenizer(data, _end_of_text(store))
    except InputError as error:
        raise InputError(f"{store.root}/{error}") from error


def _end_of_text(store: Store) -> str:
    """The last token of every document, recorded beside the vocabulary unless it is GPT-2's."""
    try:
        record = store.read_object(RECORD_PATH)
    except FileNotFoundError:
        return END_OF_TEXT
    return str(record.get("end_of_text") or END_OF_TEXT)


@lru_cache(maxsize=2)
def parse_tokenizer(data: bytes, end_of_text: str) -> Tokenizer:
    """The tokenizer of a tokenizer.json. Raises InputError.

    It is kept per process: a worker encodes many parts by the same one, and loading takes seconds.
    """
    try:
        return Tokenizer(Vocabulary(json_value(data), TOKENIZER_PATH, end_of_text))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"{TOKENIZER_PATH}: not a tokenizer.json ({type(error).__name__}: {error}); restore "
            "the file"
        ) from error


def _framed(
    ids: np.ndarray, counts: np.ndarray, before: list[int], after: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Every text between the ids `before` and `after` it. Shapes as `Tokenizer.encode_array`."""
    whole = counts + len(before) + len(after)
    stops = np.cumsum(whole)
    framed = np.empty(int(stops[-1]), np.uint32)
    is_text = np.ones(len(framed), bool)
    for offset, index in enumerate(before):
        is_text[stops - whole + offset] = False
        framed[stops - whole + offset] = index

    for offset, index in enumerate(after):
        is_text[stops - len(after) + offset] = False
        framed[stops - len(after) + offset] = index

    framed[is_text] = ids
    return framed, whole
