"""Open a Hugging Face GPT-2 as a model of ours, without a corpus: to score OpenAI's own weights, or anybody's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from corpus.errors import InputError
from corpus.json_values import json_value
from corpus.printable import printable
from corpus.tables.manifest import fingerprint
from train.checkpoints.load import LoadedModel
from train.gpt2.hf_files import CONFIG, TOKENIZER, files_of_model
from train.gpt2.huggingface import END_OF_TEXT, fetch_hf, read_hf
from train.machine.distributed import World


@dataclass(frozen=True)
class PretrainedTokenizer:
    """A `tokenizer.json` as `train.checkpoints.load.TextEncoder`."""

    inner: Tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        ids: list[int] = self.inner.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        text: str = self.inner.decode(list(ids), skip_special_tokens=False)
        return text


def _tokenizer(file: Path) -> Tokenizer:
    """The tokenizer for whole texts, without special tokens.

    Truncation and padding left in the file by a fine-tuning are removed. Raises: InputError.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:
        # The library has no class of errors of its own.
        reason = printable(str(error), max_chars=200)
        raise InputError(f"{file}: {reason}; expected the tokenizer of a GPT-2") from error

    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _end_of_text(tokenizer: Tokenizer, folder: Path) -> int | None:
    """The id at the end of a document: GPT-2's token, or the one that config.json names."""
    found: int | None = tokenizer.token_to_id(END_OF_TEXT)
    if found is not None:
        return found

    named = json_value((folder / CONFIG).read_text("utf-8-sig")).get("eos_token_id")
    if type(named) is not int or not 0 <= named < 1 << 31:
        return None
    return named if tokenizer.id_to_token(named) is not None else None


def file_digest(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_pretrained(name: str, world: World) -> LoadedModel:
    """Load the model of a folder, or of a hub name such as openai-community/gpt2, for evaluation.

    Raises: InputError for a folder without the files, a name that cannot be fetched, or another
    architecture.
    """
    folder = Path(name) if Path(name).is_dir() else fetch_hf(name)
    for file in (CONFIG, TOKENIZER):
        if not (folder / file).is_file():
            raise InputError(f"--model {name}: no {file}; expected the folder of a GPT2LMHeadModel")

    try:
        model = read_hf(folder)
    except InputError as error:
        raise InputError(f"--model {error}") from error
    tokenizer = _tokenizer(folder / TOKENIZER)

    end_of_text = _end_of_text(tokenizer, folder)
    if end_of_text is None:
        raise InputError(
            f"--model {name}: tokenizer.json has no {END_OF_TEXT}, nor the eos_token_id of {CONFIG}"
        )
    if tokenizer.get_vocab_size() > model.shape.vocab_size:
        raise InputError(
            f"--model {name}: tokenizer.json has {tokenizer.get_vocab_size()} tokens, the model {model.shape.vocab_size}"
        )

    return LoadedModel(
        model=model.to(world.device).eval(),
        tokenizer=PretrainedTokenizer(tokenizer),
        end_of_text=end_of_text,
        identity={},
        described={"snapshot": None},
        step=0,
        weights=fingerprint([file_digest(path) for path in files_of_model(folder)]),
    )
