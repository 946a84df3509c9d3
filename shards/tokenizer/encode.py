"""Text to token ids and back, by the corpus' one pinned vocabulary.

Text is never read for special tokens: a page that spells `<|endoftext|>` keeps it as text, and the id of end-of-text
appears only where a document ends. Two engines give the same ids: the compiled kernel (`shards.tokenizer.kernel`, needs numba)
and the `tokenizers` library.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from corpus.errors import InputError
from corpus.storage.store import Store
from shards.tokenizer.vocabulary import END_OF_TEXT, Vocabulary, from_json

TOKENIZER_PATH = "tokenizer/tokenizer.json"
Engine = Literal["auto", "kernel", "tokenizers"]


class Tokenizer:
    """A vocabulary with an engine that encodes by it."""

    def __init__(self, vocabulary: Vocabulary, engine: Engine = "auto") -> None:
        self.vocabulary = vocabulary
        self.vocab_size = vocabulary.size
        self.end_of_text = vocabulary.end_of_text
        self.fingerprint = vocabulary.fingerprint
        self.engine = choose_engine(engine)

    def encode(self, text: str) -> list[int]:
        """Ids of one text. Raises UnicodeEncodeError for lone surrogates, which no Unicode text holds."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""
        ids, counts = self.encode_array(pa.array(texts, pa.large_string()))
        return (
            [piece.tolist() for piece in np.split(ids, np.cumsum(counts)[:-1])]
            if len(texts)
            else []
        )

    def encode_array(
        self, texts: Any, *, end_of_text: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids of an Arrow string array, one text after another, each followed by end-of-text where asked.

        Returns: ids (t,) uint32, number of ids per text (n,) int64.
        """
        if self.engine == "kernel":
            data, ends = _text_buffers(texts)
            ids, counts = self._kernel.encode(data, ends, self.end_of_text if end_of_text else None)
            return ids, counts
        tail = [self.end_of_text] if end_of_text else []
        lists = [
            encoding.ids + tail for encoding in self._library.encode_batch_fast(texts.to_pylist())
        ]
        counts = np.array([len(ids) for ids in lists], np.int64)
        return np.fromiter((i for ids in lists for i in ids), np.uint32, int(counts.sum())), counts

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; half a character, as a model may end with, becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of `ids`. Raises InputError for an id outside the vocabulary."""
        tokens = self._tokens
        try:
            return b"".join([tokens[index] for index in ids])
        except KeyError as error:
            raise InputError(
                f"token id {error.args[0]}: the vocabulary has 0..{self.vocab_size - 1}"
            ) from None

    @cached_property
    def _tokens(self) -> dict[int, bytes]:
        tokens = dict(enumerate(self.vocabulary.tokens))
        tokens[self.end_of_text] = END_OF_TEXT.encode()
        return tokens

    @cached_property
    def _kernel(self) -> Any:
        from shards.tokenizer.kernel import Encoder

        return Encoder(self.vocabulary.byte_ids(), self.vocabulary.merge_ids())

    @cached_property
    def _library(self) -> Any:
        import tokenizers

        return tokenizers.Tokenizer.from_str(self.vocabulary.to_json(with_end_of_text=False))


def choose_engine(engine: Engine) -> Literal["kernel", "tokenizers"]:
    """`auto` is the kernel wherever numba is installed. Raises InputError when the engine asked for is missing."""
    needed = {"kernel": "numba", "tokenizers": "tokenizers"}
    names: list[Literal["kernel", "tokenizers"]] = (
        ["kernel", "tokenizers"] if engine == "auto" else [engine]
    )
    for name in names:
        if importlib.util.find_spec(needed[name]) is not None:
            return name
    raise InputError(
        f"tokenizer engine {engine}: {' or '.join(needed[name] for name in names)} is not installed; run `pip install webtext[shards]`"
    )


def load_tokenizer(store: Store, engine: Engine = "auto") -> Tokenizer:
    """The corpus' pinned tokenizer. Raises InputError where none is pinned yet."""
    try:
        data = store.read_bytes(TOKENIZER_PATH)
    except FileNotFoundError:
        raise InputError(
            f"{store.root}: no {TOKENIZER_PATH}; run `python -m shards.run --corpus {store.root} --batch B` first"
        ) from None
    try:
        return _tokenizer(data, engine)
    except InputError as error:
        raise InputError(f"{store.root}/{error}") from error


@lru_cache(maxsize=2)
def _tokenizer(data: bytes, engine: Engine) -> Tokenizer:
    """Kept per process: a worker encodes many parts by the same one. Raises InputError."""
    try:
        return Tokenizer(from_json(json.loads(data), TOKENIZER_PATH), engine)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{TOKENIZER_PATH}: not a tokenizer.json ({type(error).__name__}: {error}); restore the file"
        ) from error


def _text_buffers(texts: Any) -> tuple[np.ndarray, np.ndarray]:
    """The UTF-8 bytes of an Arrow string array and its offsets, without a copy of the bytes.

    Shapes: (n,) uint8, (len(texts) + 1,) int64.
    """
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    if array.null_count:
        raise InputError("a text is null; documents always have text")
    kind = np.int64 if pa.types.is_large_string(array.type) else np.int32
    _, offsets, data = array.buffers()
    if len(array) == 0 or offsets is None:
        return np.zeros(0, np.uint8), np.zeros(len(array) + 1, np.int64)
    ends = np.frombuffer(offsets, kind, len(array) + 1, array.offset * np.dtype(kind).itemsize)
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(
        0, np.uint8
    ), ends.astype(np.int64)
