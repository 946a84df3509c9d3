"""Hugging Face's GPT-2 and ours: the same weights under other names.

A folder of theirs has config.json, model.safetensors and tokenizer.json, as
`GPT2LMHeadModel.from_pretrained` and `AutoTokenizer.from_pretrained` open them. There the
projections are stored (in, out), here (out, in); all else is names.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from corpus.errors import InputError
from corpus.json_values import json_value
from corpus.printable import printable
from corpus.storage.store import Store
from shards.tokenizer.encode import load_tokenizer
from train.checkpoints.checkpoint import Checkpoints
from train.checkpoints.load import LoadedModel
from train.checkpoints.run_folder import RunFolder
from train.config import ModelConfig, TrainConfig
from train.gpt2.exported_folder import replace_files
from train.gpt2.hf_config import HfConfig, hf_config, parse_config, read_config
from train.gpt2.hf_files import PATTERNS, TOKENIZER, load_tensors, tensor_files
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.machine.distributed import World

log = logging.getLogger(__name__)

PREFIX = "transformer."
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
END_OF_TEXT = "<|endoftext|>"
SMALL_PARAMS = 1 << 26  # 256 MiB of floats
EMBEDDING, HEAD = "wte.weight", "lm_head.weight"
FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
VOCAB = "vocab.json"
# Rows that an embedding has more than its tokenizer has words, below a tile of matrix products.
MAX_PADDING = 128


def hf_weights(model: GPT2) -> dict[str, Tensor]:
    """Our weights under Hugging Face's names and orientation.

    The tied head is left out, as there.
    """
    return {
        PREFIX + name: _turned(name, tensor).contiguous().cpu()
        for name, tensor in model.state_dict().items()
    }


def model_from_hf(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> GPT2:
    """A model of ours with weights of theirs, names with or without `transformer.`.

    Raises: InputError for another architecture, and for tensors that are missing, left over, of
    another shape or type, or not finite.
    """
    return _model(parse_config(config), weights)


def _model(config: HfConfig, weights: Mapping[str, Tensor]) -> GPT2:
    model = GPT2(config.shape)
    theirs = _named_as_ours(weights)
    loaded = {
        name: _loaded(name, theirs, ours, config) for name, ours in model.state_dict().items()
    }

    _refuse_others(theirs, loaded, config)
    model.load_state_dict(loaded)
    return model


def _named_as_ours(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without `transformer.` in their names."""
    theirs: dict[str, Tensor] = {}
    for full_name, tensor in weights.items():
        name = full_name.removeprefix(PREFIX)
        if name in theirs:
            raise InputError(f"tensor {_shown(name)} is there twice, with and without {PREFIX!r}")
        theirs[name] = tensor

    # Of two names for one tensor, a writer of safetensors may have kept either.
    if EMBEDDING not in theirs and HEAD in theirs:
        theirs[EMBEDDING] = theirs[HEAD]
    return theirs


def _loaded(name: str, theirs: Mapping[str, Tensor], ours: Tensor, config: HfConfig) -> Tensor:
    """One tensor of ours in float32. Raises: InputError if theirs has no such one."""
    if name not in theirs:
        raise InputError(f"no tensor {name}; expected the weights of a GPT2LMHeadModel")
    found = theirs[name]
    if found.dtype not in FLOATS:
        kinds = ", ".join(sorted(_dtype_name(each) for each in FLOATS))
        raise InputError(f"tensor {name} is of {_dtype_name(found.dtype)}; expected {kinds}")

    tensor = (_turned(name, found) if found.ndim == ours.ndim else found).float()
    if tensor.shape != ours.shape:
        raise InputError(
            f"tensor {name} is {list(tensor.shape)}, config.json says {list(ours.shape)}"
        )
    bad = tensor.numel() - int(tensor.isfinite().sum())
    if bad:
        raise InputError(
            f"tensor {name} has {bad:,} values that are not finite float32 numbers; "
            "restore these weights"
        )

    return _with_scaled_queries(name, tensor, config)


def _with_scaled_queries(name: str, tensor: Tensor, config: HfConfig) -> Tensor:
    """The tensor, or for weights and biases of queries a copy with the config's scale in them."""
    parts = name.split(".")
    if parts[2:4] != ["attn", "c_attn"]:
        return tensor
    scale = config.query_scale(int(parts[1]))
    if scale == 1:
        return tensor

    scaled = tensor.clone()
    scaled[: config.shape.n_embd] *= scale  # rows of queries come before those of keys and values
    return scaled


def _refuse_others(
    theirs: Mapping[str, Tensor], loaded: Mapping[str, Tensor], config: HfConfig
) -> None:
    """Raise InputError for tensors that our model has no place for, and for a head of its own."""
    # Masks are constants that older versions of transformers saved with the weights.
    masks = {
        f"h.{layer}.attn.{name}"
        for layer in range(config.shape.n_layer)
        for name in ("bias", "masked_bias")
    }
    extra = sorted(name for name in theirs if name not in loaded and name not in {HEAD, *masks})
    if extra:
        named = ", ".join(map(_shown, extra[:5])) + (", ..." if len(extra) > 5 else "")
        raise InputError(
            f"{len(extra)} tensors that a model of config.json does not have ({named}); "
            f"it says n_layer = {config.shape.n_layer}; restore the config.json of these weights"
        )

    head = theirs.get(HEAD)
    if head is None and not config.tied:
        raise InputError(f"no tensor {HEAD}, and config.json says tie_word_embeddings = False")
    # Rounded as the head is, which may be stored in a shorter type than the embedding.
    if head is not None and not torch.equal(head.float(), theirs[EMBEDDING].to(head.dtype).float()):
        raise InputError(f"{HEAD} differs from {EMBEDDING}; GPT-2's head is tied")


def write_hf(loaded: LoadedModel, tokenizer_json: bytes, folder: Path, *, card: str = "") -> None:
    """Write a Hugging Face folder with `card` as its README.md; files of these names are replaced.

    After a stop the folder is as it was, or no longer opens. Raises: FatalError.
    """
    shape = loaded.model.shape
    # A corpus may have another token at the end of a document: a name that the vocabulary lacks
    # would become a new token there, with an id beyond the embedding.
    names = {index: name for name, index in _token_ids(json_value(tokenizer_json)).items()}
    end = names.get(loaded.end_of_text, END_OF_TEXT)
    token = {"bos_token": end, "eos_token": end, "unk_token": end}
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": shape.block_size,
        "clean_up_tokenization_spaces": False,
        **token,
    }
    generation = {
        "bos_token_id": loaded.end_of_text,
        "eos_token_id": loaded.end_of_text,
        "do_sample": True,
        "top_k": 40,
    }

    def write(staged: Path) -> None:
        for name, document in (
            ("config.json", hf_config(shape, loaded.end_of_text)),
            ("generation_config.json", generation),
            ("tokenizer_config.json", tokenizer_config),
            ("special_tokens_map.json", token),
        ):
            (staged / name).write_text(json.dumps(document, indent=2) + "\n", "utf-8")

        (staged / "tokenizer.json").write_bytes(tokenizer_json)
        if card:
            (staged / "README.md").write_text(card, "utf-8")

        weights = staged / "model.safetensors"
        try:
            save_file(hf_weights(loaded.model), weights, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(str(error)) from error
        # safetensors writes through a private temporary file, which others could not read.
        shutil.copymode(staged / "config.json", weights)

    replace_files(folder, write, "config.json")


def read_hf(folder: Path, *, vocab_size: int | None = None) -> GPT2:
    """Read the model in a Hugging Face folder.

    `vocab_size`: of the tokenizer that it is for. Rows that only pad the embedding to a round size
    are cut off. Raises: InputError if there is no GPT-2, with the folder and the tensor.
    """
    try:
        config = read_config(folder)
        _refuse_other_size(config.shape, tensor_files(folder))
        model = _model(config, load_tensors(folder))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: {error}; expected a folder with config.json and model.safetensors of a GPT-2"
        ) from error
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error

    return model if vocab_size is None else _without_padding(model, vocab_size, folder)


def read_hf_shape(folder: Path, vocab_size: int | None = None) -> Shape:
    """The shape that `read_hf` would give, without reading weights. Raises: as it does."""
    try:
        shape = read_config(folder).shape
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{folder}: {error}") from error
    if vocab_size is None or not _is_padded(shape, vocab_size):
        return shape
    return replace(shape, vocab_size=vocab_size)


def _is_padded(shape: Shape, vocab_size: int) -> bool:
    """True if the embedding has rows for a rounder number of words than there are.

    nanoGPT and llm.c train 50,304 rows for 50,257 words: the next multiple of 64 or 128.
    """
    extra = shape.vocab_size - vocab_size
    return shape.vocab_size % 8 == 0 and 0 < extra < MAX_PADDING


def _without_padding(model: GPT2, vocab_size: int, folder: Path) -> GPT2:
    """The model without rows that no token has; as it is if there are none."""
    if not _is_padded(model.shape, vocab_size):
        return model

    log.info(
        "%s: the last %d of %d rows of the embedding have no token; left out",
        folder, model.shape.vocab_size - vocab_size, model.shape.vocab_size,
    )  # fmt: skip
    smaller = GPT2(replace(model.shape, vocab_size=vocab_size))
    weights = model.state_dict()
    smaller.load_state_dict({**weights, EMBEDDING: weights[EMBEDDING][:vocab_size]})
    return smaller


def fetch_hf(name: str) -> Path:
    """The folder of a model named at the Hugging Face hub, downloaded once into its cache.

    Raises: InputError when it cannot be had.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(PATTERNS)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"--model {name}: no such folder, and the hub did not give it ({type(error).__name__}); name a folder"
        ) from error


def check_tokenizer(folder: Path, ours: bytes) -> None:
    """Raises: InputError when the folder's tokenizer gives a token another id than the corpus's, naming both."""
    theirs = _vocabulary(folder)
    if theirs is None:
        return

    mine = _token_ids(json_value(ours))
    different = next(
        (token for token in sorted({*theirs, *mine}) if theirs.get(token) != mine.get(token)), None
    )
    if different is not None:
        raise InputError(
            f"{folder}: token {_shown(repr(different))} has id {theirs.get(different)} there, {mine.get(different)} in the corpus's tokenizer; "
            "import into a corpus with the model's own tokenizer"
        )


def _vocabulary(folder: Path) -> dict[str, int] | None:
    """Ids of the tokens, of tokenizer.json or of the older vocab.json; None without both."""
    path = folder / TOKENIZER
    if not path.exists():
        path = folder / VOCAB
    if not path.exists():
        return None

    try:
        document = json_value(path.read_text("utf-8"))
        return _token_ids(document) if path.name == TOKENIZER else {**document}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = _shown(repr(error))
        raise InputError(f"{path}: {reason}; expected the tokenizer of a GPT-2") from error


def _token_ids(document: Any) -> dict[str, int]:
    """Ids of a tokenizer.json, with those of tokens that a fine-tuning has added."""
    added = {str(each["content"]): each["id"] for each in document.get("added_tokens") or ()}
    vocabulary = document["model"]["vocab"]
    if isinstance(vocabulary, list):
        # A Unigram model lists its pieces with their scores.
        vocabulary = {piece: index for index, (piece, _) in enumerate(vocabulary)}
    return {**vocabulary, **added}


def import_run(store: Store, run: str, folder: Path, world: World) -> None:
    """Make the model in `folder` the run `run` of the corpus. Vocabularies must be equal.

    An interrupted import continues. Raises: InputError if the run exists or the vocabulary differs.
    """
    tokenizer = load_tokenizer(store)
    model = read_hf(folder, vocab_size=tokenizer.vocab_size)
    if tokenizer.vocab_size != model.shape.vocab_size:
        raise InputError(
            f"{folder}: vocabulary of {model.shape.vocab_size}, the corpus's tokenizer has {tokenizer.vocab_size}; "
            "import into a corpus with the model's own tokenizer (shards.run with GPT-2's vocabulary)"
        )

    check_tokenizer(folder, store.read_bytes("tokenizer/tokenizer.json"))
    target, checkpoints = RunFolder(store, run), Checkpoints(store, run)
    if target.read("config.json") is not None and checkpoints.all():
        raise InputError(f"{store.root}/{target.path}: exists; choose another --run name")

    shape = model.shape
    settings = TrainConfig(
        model=ModelConfig(
            n_layer=shape.n_layer,
            n_head=shape.n_head,
            n_embd=shape.n_embd,
            block_size=shape.block_size,
        )
    )
    identity = {
        "imported_from": str(folder),
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "end_of_text": tokenizer.end_of_text,
        "shape": vars(shape),
        "settings": settings.decisive(),
    }
    target.claim(identity, {"snapshot": None, "config": settings.model_dump()}, rebuild=False)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    checkpoints.save(0, tensors, {"identity": identity, "val_loss": None}, world, keep_last=1)


def _refuse_other_size(shape: Shape, files: Sequence[Path]) -> None:
    """Raise InputError for a model that cannot be in files of this size.

    Half precision takes two bytes a number, and smaller types are not a GPT-2's.
    """
    width, layers = shape.n_embd, shape.n_layer
    num_params = width * (shape.vocab_size + shape.block_size + 2 + layers * (12 * width + 13))
    found = sum(path.stat().st_size for path in files)
    # A small model costs nothing, and its tensors are compared one by one.
    if num_params > SMALL_PARAMS and 2 * num_params > found:
        raise InputError(
            f"{files[0].name}: {found:,} bytes, and the model of config.json has {num_params:,} "
            "parameters; restore the config.json of these weights"
        )


def _turned(name: str, tensor: Tensor) -> Tensor:
    """A projection's weight in the other orientation; any other tensor as it is."""
    return tensor.t() if name.endswith(TRANSPOSED) else tensor


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shown(name: str) -> str:
    return printable(name, max_chars=100)
