"""A run as one GGUF file, for llama.cpp and all that is built on it.

GGUF 3 by the `gguf` package of llama.cpp itself: architecture `gpt2`, weights and tokenizer in one
file. The split rule is named (`tokenizer.ggml.pre`), so vocabularies trained on this corpus are
read as well: the usual converter knows a rule by its publisher's tokenizer alone.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from corpus.errors import InputError
from shards.tokenizer.split_rules import SPLIT_RULES
from shards.tokenizer.vocabulary import Vocabulary
from train.checkpoints.load import LoadedModel
from train.gpt2.exported_folder import replace_files
from train.gpt2.model import GPT2, LAYER_NORM_EPS

# Storage of matrices. Vectors and positions stay float32, as llama.cpp's kernels expect.
DTYPES = ("f32", "f16", "q8_0")
# llama.cpp's names of the rules in `SPLIT_RULES`. Its names also say whether a word of the
# vocabulary is one token before any merge is tried (`ignore_merges`).
PRE_NAMES = {
    ("gpt2", False): "gpt-2",
    ("cl100k", False): "dbrx",
    ("cl100k", True): "llama-bpe",
    ("qwen2", False): "qwen2",
    ("o200k", False): "gpt-4o",
    ("digits", False): "starcoder",
    ("deepseek", False): "deepseek-v3",
}
TENSORS = {
    "wte.weight": "token_embd.weight",
    "wpe.weight": "position_embd.weight",
    "ln_f": "output_norm",
}
BLOCK_TENSORS = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
FULL_PRECISION = ("position_embd.weight",)


def write_gguf(
    loaded: LoadedModel, vocabulary: Vocabulary, path: Path, dtype: str, *, card: str = ""
) -> None:
    """Write model and tokenizer to `path`, matrices as `dtype` (one of `DTYPES`), `card` beside it.

    Raises: InputError for a tokenizer without counterpart in llama.cpp, FatalError if the disk
    refuses.
    """
    pre = pre_name(vocabulary)

    def write(staged: Path) -> None:
        _write_file(loaded, vocabulary, pre, staged / path.name, dtype)
        if card:
            (staged / "README.md").write_text(card, "utf-8")

    replace_files(path.parent, write, path.name)


def _write_file(
    loaded: LoadedModel, vocabulary: Vocabulary, pre: str, path: Path, dtype: str
) -> None:
    import gguf

    # Its writer announces each file on the user's terminal.
    logging.getLogger("gguf").setLevel(logging.WARNING)
    shape = loaded.model.shape
    writer = gguf.GGUFWriter(path, "gpt2")

    writer.add_name(path.stem)
    writer.add_context_length(shape.block_size)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(4 * shape.n_embd)
    writer.add_head_count(shape.n_head)
    writer.add_layer_norm_eps(LAYER_NORM_EPS)
    writer.add_file_type(
        {
            "f32": gguf.LlamaFileType.ALL_F32,
            "f16": gguf.LlamaFileType.MOSTLY_F16,
            "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
        }[dtype]
    )

    _add_tokenizer(writer, vocabulary, pre, shape.vocab_size)
    for name, tensor in _tensors(loaded.model):
        _add_tensor(writer, name, tensor, dtype)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def pre_name(vocabulary: Vocabulary) -> str:
    """llama.cpp's name of a vocabulary's split rule. Raises: InputError if it has none."""
    model = vocabulary.document["model"]
    rule = vocabulary.document.get("pre_tokenizer")
    known = next((name for name, each in SPLIT_RULES.items() if each == rule), None)
    name = PRE_NAMES.get((known or "", bool(model.get("ignore_merges"))))

    if model["type"] != "BPE" or vocabulary.document.get("normalizer") or name is None:
        raise InputError(
            f"tokenizer: {model['type']} with split rule {known or rule!r} and normalizer "
            f"{vocabulary.document.get('normalizer')!r}; llama.cpp reads byte-level BPE with one of "
            f"{', '.join(sorted({rule for rule, _ in PRE_NAMES}))}: export with --to hf instead"
        )
    return name


def _add_tokenizer(writer: Any, vocabulary: Vocabulary, pre: str, vocab_size: int) -> None:
    import gguf

    types = gguf.TokenType
    # Ids without a token are named, since each row of the embedding needs one.
    tokens = [f"[PAD{index}]" for index in range(vocab_size)]
    kinds = [int(types.UNUSED)] * vocab_size
    for token, index in vocabulary.token_ids.items():
        tokens[index], kinds[index] = token, int(types.NORMAL)

    marks = {*vocabulary.special_tokens, vocabulary.end_of_text_token}
    for each in vocabulary.document.get("added_tokens") or ():
        marked = each["content"] in marks
        kinds[each["id"]] = int(types.CONTROL if marked else types.USER_DEFINED)
    kinds[vocabulary.end_of_text] = int(types.CONTROL)

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = vocabulary.document["model"]["merges"]
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in merges])
    writer.add_bos_token_id(vocabulary.end_of_text)
    writer.add_eos_token_id(vocabulary.end_of_text)
    # Prompts begin as they were given; in training only the end of the text before preceded one.
    writer.add_add_bos_token(False)


def _tensors(model: GPT2) -> list[tuple[str, Tensor]]:
    return [(_named(name), tensor) for name, tensor in model.state_dict().items()]


def _named(name: str) -> str:
    """GGUF's name of a tensor. Both store a projection as (out, in)."""
    if name in TENSORS:
        return TENSORS[name]

    module, _, kind = name.rpartition(".")
    if module in TENSORS:
        return f"{TENSORS[module]}.{kind}"
    _, layer, part = module.split(".", 2)
    return f"blk.{layer}.{BLOCK_TENSORS[part]}.{kind}"


def _add_tensor(writer: Any, name: str, tensor: Tensor, dtype: str) -> None:
    import gguf

    values = tensor.detach().float().cpu().numpy()
    if values.ndim == 1 or name in FULL_PRECISION or dtype == "f32":
        writer.add_tensor(name, values)
        return

    # Blocks of q8_0 are 32 numbers of a row; a narrower model keeps half precision.
    if dtype == "f16" or values.shape[-1] % 32:
        writer.add_tensor(name, values.astype(np.float16))
        return

    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
