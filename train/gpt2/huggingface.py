"""Hugging Face's GPT-2 and ours: the same weights under other names.

A folder of theirs has config.json, model.safetensors and tokenizer.json, as
`GPT2LMHeadModel.from_pretrained` and `AutoTokenizer.from_pretrained` open them. There the
projections are stored (in, out), here (out, in); all else is names.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from corpus.errors import InputError
from corpus.storage.store import Store
from shards.tokenizer.encode import load_tokenizer
from train.checkpoints.checkpoint import Checkpoints
from train.checkpoints.load import LoadedModel
from train.checkpoints.run_folder import RunFolder
from train.config import ModelConfig, TrainConfig
from train.gpt2.exported_folder import replace_files
from train.gpt2.model import GPT2, LAYER_NORM_EPS, WEIGHT_STD
from train.gpt2.shape import Shape
from train.machine.distributed import World

PREFIX = "transformer."
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
END_OF_TEXT = "<|endoftext|>"
# Far above any GPT-2 (48 layers, 1,600 wide, 1,024 and 50,257), and far below what exhausts a
# machine by an index alone.
HF_LIMITS = {
    "n_layer": 1_000,
    "n_embd": 1 << 16,
    "block_size": 1 << 20,
    "vocab_size": 1 << 22,
}
SMALL_PARAMS = 1 << 26  # 256 MiB of floats
MASK = re.compile(r"h\.\d+\.attn\.(masked_)?bias")


def hf_config(shape: Shape, end_of_text: int) -> dict[str, Any]:
    """config.json of a GPT-2 of this shape."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_layer": shape.n_layer,
        "n_head": shape.n_head,
        "n_embd": shape.n_embd,
        "n_positions": shape.block_size,
        "n_ctx": shape.block_size,
        "vocab_size": shape.vocab_size,
        "layer_norm_epsilon": LAYER_NORM_EPS,
        "initializer_range": WEIGHT_STD,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }


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

    Raises: InputError for another architecture, and for tensors that are missing, left over or of
    another shape.
    """
    shape = _shape(config)
    model = GPT2(shape)
    theirs = {name.removeprefix(PREFIX): tensor for name, tensor in weights.items()}
    loaded = {}

    for name, ours in model.state_dict().items():
        if name not in theirs:
            raise InputError(
                f"model.safetensors: no tensor {name}; expected the weights of a GPT2LMHeadModel"
            )
        tensor = _turned(name, theirs[name]).float()
        if tensor.shape != ours.shape:
            raise InputError(
                f"model.safetensors: {name} is {list(tensor.shape)}, config.json says {list(ours.shape)}"
            )
        loaded[name] = tensor

    # Masks are constants that older versions of transformers saved with the weights.
    extra = sorted(
        name
        for name in theirs
        if name not in loaded and name != "lm_head.weight" and not MASK.fullmatch(name)
    )
    if extra:
        named = ", ".join(extra[:5]) + (", ..." if len(extra) > 5 else "")
        raise InputError(
            f"model.safetensors: {len(extra)} tensors that a model of config.json does not have ({named}); "
            f"it says n_layer = {shape.n_layer}; restore the config.json of these weights"
        )

    head = theirs.get("lm_head.weight")
    if head is not None and not torch.equal(head.float(), loaded["wte.weight"]):
        raise InputError(
            "model.safetensors: lm_head.weight differs from wte.weight; GPT-2's head is tied"
        )

    model.load_state_dict(loaded)
    return model


def write_hf(loaded: LoadedModel, tokenizer_json: bytes, folder: Path, *, card: str = "") -> None:
    """Write a Hugging Face folder with `card` as its README.md; files of these names are replaced.

    After a stop the folder is as it was, or no longer opens. Raises: FatalError.
    """
    shape = loaded.model.shape
    token = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT}
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


def read_hf(folder: Path) -> GPT2:
    """Read the model in a Hugging Face folder. Raises: InputError if there is none."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        _refuse_other_size(_shape(config), folder / "model.safetensors")
        weights = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{folder}: {error}; expected a folder with config.json and model.safetensors of a GPT-2"
        ) from error

    return model_from_hf(config, weights)


FILES = ("config.json", "model.safetensors", "tokenizer.json")


def fetch_hf(name: str) -> Path:
    """The folder of a model named at the Hugging Face hub, downloaded once into its cache.

    Raises: InputError when it cannot be had.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"--model {name}: no such folder, and the hub did not give it ({type(error).__name__}); name a folder"
        ) from error


def check_tokenizer(folder: Path, ours: bytes) -> None:
    """Raises: InputError when the folder's tokenizer gives a token another id than the corpus's, naming both."""
    path = folder / "tokenizer.json"
    if not path.exists():
        return

    try:
        theirs: dict[str, int] = dict(json.loads(path.read_text("utf-8"))["model"]["vocab"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {error!r}; expected the tokenizer of a GPT-2") from error

    mine = json.loads(ours)["model"]["vocab"]
    different = next(
        (token for token in sorted({*theirs, *mine}) if theirs.get(token) != mine.get(token)), None
    )
    if different is not None:
        raise InputError(
            f"{folder}: token {different!r} has id {theirs.get(different)} there, {mine.get(different)} in the corpus's tokenizer; "
            "import into a corpus with the model's own tokenizer"
        )


def import_run(store: Store, run: str, folder: Path, world: World) -> None:
    """Make the model in `folder` the run `run` of the corpus. Vocabularies must be equal.

    An interrupted import continues. Raises: InputError if the run exists or the vocabulary differs.
    """
    model = read_hf(folder)
    tokenizer = load_tokenizer(store)
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


def _refuse_other_size(shape: Shape, path: Path) -> None:
    """Raise InputError for a model that cannot be in a file of this size.

    Half precision takes two bytes a number, and smaller types are not a GPT-2's.
    """
    width, layers = shape.n_embd, shape.n_layer
    num_params = width * (shape.vocab_size + shape.block_size + 2 + layers * (12 * width + 13))
    found = path.stat().st_size
    # A small model costs nothing, and its tensors are compared one by one.
    if num_params > SMALL_PARAMS and 2 * num_params > found:
        raise InputError(
            f"{path}: {found:,} bytes, and the model of config.json has {num_params:,} parameters; "
            "restore the config.json of these weights"
        )


def _turned(name: str, tensor: Tensor) -> Tensor:
    """A projection's weight in the other orientation; any other tensor as it is."""
    return tensor.t() if name.endswith(TRANSPOSED) else tensor


def _shape(config: Mapping[str, Any]) -> Shape:
    """Read the shape. Raises: InputError for settings with other arithmetic than GPT-2's."""
    if not isinstance(config, Mapping):
        raise InputError(f"config.json: a {type(config).__name__}; expected the config of a GPT-2")

    fixed = {
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": LAYER_NORM_EPS,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": True,
    }
    for key, expected in fixed.items():
        if config.get(key, expected) != expected:
            raise InputError(f"config.json: {key} = {config[key]!r}, GPT-2 has {expected!r}")

    try:
        shape = Shape(
            n_layer=int(config["n_layer"]),
            n_head=int(config["n_head"]),
            n_embd=int(config["n_embd"]),
            block_size=int(config.get("n_positions", config.get("n_ctx", 0))),
            vocab_size=int(config["vocab_size"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"config.json: {error!r}; expected the config of a GPT-2") from error

    if shape.n_head < 1 or shape.n_embd % shape.n_head:
        raise InputError(
            f"config.json: n_embd = {shape.n_embd}: not a multiple of n_head = {shape.n_head}"
        )
    # A stranger's numbers, compared before memory is taken by them.
    for name, most in HF_LIMITS.items():
        if not 1 <= getattr(shape, name) <= most:
            raise InputError(
                f"config.json: {name} = {getattr(shape, name)}; expected 1 to {most:,}"
            )
    if config.get("n_inner") not in (None, 4 * shape.n_embd):
        raise InputError(
            f"config.json: n_inner = {config['n_inner']}, GPT-2 has {4 * shape.n_embd}"
        )

    return shape
