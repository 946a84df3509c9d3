"""config.json of a Hugging Face GPT-2: the shape, and settings whose arithmetic is GPT-2's.

Missing fields have the defaults of `transformers.GPT2Config`, since its files may leave them out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.errors import InputError
from corpus.printable import printable
from train.gpt2.model import LAYER_NORM_EPS, WEIGHT_STD
from train.gpt2.shape import Shape

# Far above any GPT-2 (48 layers, 1,600 wide, 1,024 and 50,257), and far below what exhausts a
# machine by an index alone.
HF_LIMITS = {
    "n_layer": 1_000,
    "n_embd": 1 << 16,
    "block_size": 1 << 20,
    "vocab_size": 1 << 22,
}

# A size's names in config.json, the first one found counts, and its value if there is none.
SIZES: dict[str, tuple[tuple[str, ...], int]] = {
    "n_layer": (("n_layer", "num_hidden_layers"), 12),
    "n_head": (("n_head", "num_attention_heads"), 12),
    "n_embd": (("n_embd", "hidden_size"), 768),
    "block_size": (("n_positions", "max_position_embeddings", "n_ctx"), 1024),
    "vocab_size": (("vocab_size",), 50257),
}

# The tanh form of GELU under its names in transformers; "gelu" is another function.
TANH_GELUS = ("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh")


@dataclass(frozen=True)
class HfConfig:
    """The parts of config.json that decide how weights are read."""

    shape: Shape
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tied: bool = True
    """False if the file must have a head of its own, equal to the embedding."""

    def query_scale(self, layer: int) -> float:
        """Factor on a layer's queries that makes our attention scores those of this model.

        Ours are divided by sqrt(n_embd / n_head) and by nothing else.
        """
        scale = 1.0 if self.scale_attn_weights else math.sqrt(self.shape.n_embd / self.shape.n_head)
        return scale / (layer + 1) if self.scale_attn_by_inverse_layer_idx else scale


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


def read_config(folder: Path) -> HfConfig:
    """Read `config.json` of a folder. Raises: InputError as `parse_config`, OSError, ValueError."""
    try:
        # Editors of some systems put a byte order mark before the text.
        document = json.loads((folder / "config.json").read_text("utf-8-sig"))
    except RecursionError:
        raise InputError("config.json: nested too deep; expected the config of a GPT-2") from None
    return parse_config(document)


def parse_config(config: Any) -> HfConfig:
    """Read the shape. Raises: InputError for settings with other arithmetic than GPT-2's."""
    if not isinstance(config, Mapping):
        raise InputError(f"config.json: a {type(config).__name__}; expected the config of a GPT-2")
    _refuse_other_arithmetic(config)

    shape = Shape(**{name: _size(config, name) for name in SIZES})
    if shape.n_head < 1 or shape.n_embd % shape.n_head:
        raise InputError(
            f"config.json: n_embd = {shape.n_embd}: not a multiple of n_head = {shape.n_head}"
        )
    # A stranger's numbers, compared before memory is taken by them.
    for name, most in HF_LIMITS.items():
        if not 1 <= getattr(shape, name) <= most:
            raise InputError(
                f"config.json: {name} = {_shown(getattr(shape, name))}; expected 1 to {most:,}"
            )
    if config.get("n_inner") not in (None, 4 * shape.n_embd):
        raise InputError(
            f"config.json: n_inner = {_shown(config['n_inner'])}, GPT-2 has {4 * shape.n_embd}"
        )

    return HfConfig(
        shape,
        scale_attn_weights=_flag(config, "scale_attn_weights", default=True),
        scale_attn_by_inverse_layer_idx=_flag(
            config, "scale_attn_by_inverse_layer_idx", default=False
        ),
        tied=_flag(config, "tie_word_embeddings", default=True),
    )


def _refuse_other_arithmetic(config: Mapping[str, Any]) -> None:
    allowed: dict[str, tuple[Any, ...]] = {
        "model_type": ("gpt2",),
        "activation_function": TANH_GELUS,
        "layer_norm_epsilon": (LAYER_NORM_EPS,),
        "add_cross_attention": (False,),
        "quantization_config": (None,),
    }
    for key, values in allowed.items():
        if key in config and config[key] not in values:
            raise InputError(f"config.json: {key} = {_shown(config[key])}, GPT-2 has {values[0]!r}")


def _size(config: Mapping[str, Any], name: str) -> int:
    """A size under any of its names, or its default."""
    keys, default = SIZES[name]
    key = next((key for key in keys if key in config), None)
    if key is None:
        return default

    value = config[key]
    if type(value) is not int:
        raise InputError(f"config.json: {key} = {_shown(value)}; expected the config of a GPT-2")
    return value


def _flag(config: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise InputError(f"config.json: {key} = {_shown(value)}; expected true or false")
    return value


def _shown(value: Any) -> str:
    return printable(repr(value), max_chars=100)
