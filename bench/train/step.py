"""A training step of GPT-2: ours, Hugging Face's model, nanoGPT's and litgpt's.

Two measurements per contestant. Losses: 50 steps of a small model with the whole vocabulary, from
the same weights, each contestant with its own optimizer and equal hyperparameters. Speed and
memory: steps of `--preset` on `--batch` sequences of its context, in float32 on the CPU. nanoGPT
takes part if `--nanogpt` names a checkout (a folder with model.py). litgpt has no GPT-2: its model
has the same matrices and rotary positions, so only its speed and memory compare. `peak_rss_mb`
includes the libraries; `base_mb` is the memory before a model is created.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.material import prose
from bench.measure import Contestant, Turn, Work, arguments, compare, peak_rss_mb, show
from train.config import ModelConfig
from train.gpt2.shape import Shape

SMALL = {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 256}
SMALL_BATCH, SMALL_STEPS = 4, 50
VOCAB = 50257
RATE, BETAS, DECAY, CLIP = 6e-4, (0.9, 0.95), 0.1, 1.0

# One optimizer step on rows (B, T + 1); gives the mean loss.
Step = Callable[[np.ndarray], float]


def main() -> None:
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--nanogpt", metavar="DIR", help="a checkout of nanoGPT")
    parser.add_argument(
        "--preset", default="gpt2", help="the model whose speed is measured (default: gpt2)"
    )
    parser.add_argument("--batch", type=int, default=8, help="sequences a step (default: 8)")
    parser.add_argument(
        "--steps", type=int, default=2, help="steps timed, after one that is not (default: 2)"
    )
    args = parser.parse_args()
    contestants = [
        Contestant("ours", ours),
        Contestant("transformers", transformers, "transformers"),
        Contestant("litgpt", litgpt, "litgpt"),
    ]

    if args.nanogpt:
        contestants.append(Contestant("nanogpt", nanogpt, version="checkout"))
    else:
        print("nanogpt: left out, no checkout given (--nanogpt DIR)", file=sys.stderr)

    shape = ModelConfig(preset=args.preset).shape(VOCAB)
    with tempfile.TemporaryDirectory() as folder:
        source = {
            "folder": folder,
            "shape": vars(shape),
            "nanogpt": args.nanogpt,
            "batch": args.batch,
            "steps": args.steps,
        }
        described = _tokens(folder, (args.steps + 1) * args.batch * shape.block_size + 1)
        _initial_weights(folder)
        result = compare(
            "train", contestants, source,
            description=(
                f"{args.preset}, {args.batch} x {shape.block_size} tokens a step, "
                f"{args.steps} steps; {described}"
            ),
            unit="tokens/s", rounds=args.rounds,
        )  # fmt: skip
        _add_loss_differences(result, folder)

    show(result, as_json=args.json)


def ours(source: dict[str, Any]) -> Work:
    import torch

    from train.config import TrainConfig
    from train.gpt2.huggingface import model_from_hf
    from train.gpt2.model import GPT2
    from train.optimizer import build_optimizers

    config = TrainConfig(optimizer={"learning_rate": RATE, "weight_decay": DECAY})

    def build(shape: Shape, weights: dict[str, Any] | None) -> Step:
        model = model_from_hf(_hf_config(shape), weights) if weights else GPT2(shape)
        model.train()
        (optimizer,) = build_optimizers(model, config, torch.device("cpu"))

        def step(rows: np.ndarray) -> float:
            tokens, targets = _pair(rows)
            loss = model(tokens, targets) / targets.numel()
            return _update(loss, model, optimizer)

        return step

    return _turn(source, "ours", build)


def transformers(source: dict[str, Any]) -> Work:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    def build(shape: Shape, weights: dict[str, Any] | None) -> Step:
        model = GPT2LMHeadModel(GPT2Config(**{**_hf_config(shape), "use_cache": False}))
        if weights:
            model.load_state_dict({**weights, "lm_head.weight": weights["transformer.wte.weight"]})
        model.train()
        groups = [
            {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": DECAY},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS)

        def step(rows: np.ndarray) -> float:
            tokens, targets = _pair(rows)
            logits = model(tokens).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
            del logits
            return _update(loss, model, optimizer)

        return step

    return _turn(source, "transformers", build)


def nanogpt(source: dict[str, Any]) -> Work:
    import torch

    path = Path(source["nanogpt"]) / "model.py"
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    spec.loader.exec_module(module)

    def build(shape: Shape, weights: dict[str, Any] | None) -> Step:
        model = module.GPT(module.GPTConfig(**vars(shape), dropout=0.0, bias=True))
        if weights:
            turned = {
                name: tensor.t() if _is_projection(name) else tensor
                for name, tensor in weights.items()
            }
            model.load_state_dict({**turned, "lm_head.weight": weights["transformer.wte.weight"]})

        model.train()
        optimizer = model.configure_optimizers(DECAY, RATE, BETAS, "cpu")

        def step(rows: np.ndarray) -> float:
            _, loss = model(*(part.contiguous() for part in _pair(rows)))
            return _update(loss, model, optimizer)

        return step

    assert torch.get_num_threads() >= 1
    return _turn(source, "nanogpt", build)


def litgpt(source: dict[str, Any]) -> Work:
    """The sizes of GPT-2 in litgpt's model, with the loss and optimizer of its pre-training."""
    import torch
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    def build(shape: Shape, weights: dict[str, Any] | None) -> Step:
        sizes = vars(shape)
        model = GPT(
            Config(
                name="gpt2",
                **sizes,
                padded_vocab_size=shape.vocab_size,
                attn_bias=True,
                parallel_residual=False,
                gelu_approximate="tanh",
            )
        )
        # Its `tie_embeddings`, without which the model has 39 million parameters more.
        model.transformer.wte.weight = model.lm_head.weight
        model.train()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY, fused=False
        )

        def step(rows: np.ndarray) -> float:
            tokens, targets = _pair(rows)
            loss = chunked_cross_entropy(model(tokens), targets)
            return _update(loss, model, optimizer)

        return step

    return _turn(source, "litgpt", build, same_model=False)


def _turn(
    source: dict[str, Any],
    name: str,
    build: Callable[[Shape, dict[str, Any] | None], Step],
    *,
    same_model: bool = True,
) -> Work:
    """Compute the small model's losses once, then return the timed work: steps of the large model."""
    import torch
    from safetensors.torch import load_file

    torch.manual_seed(0)
    folder = Path(source["folder"])
    tokens = np.load(folder / "tokens.npy")
    base = peak_rss_mb()
    losses = folder / f"{name}.json"
    if same_model and not losses.exists():
        small = build(Shape(**SMALL, vocab_size=VOCAB), load_file(folder / "weights.safetensors"))
        rows = _rows(tokens, SMALL["block_size"], SMALL_BATCH)
        losses.write_text(json.dumps([small(next(rows)) for _ in range(SMALL_STEPS)]))
        del small

    shape = Shape(**source["shape"])
    large = build(shape, None)
    rows = _rows(tokens, shape.block_size, source["batch"])
    large(next(rows))

    def work() -> Turn:
        for _ in range(source["steps"]):
            large(next(rows))
        amount = source["steps"] * source["batch"] * shape.block_size
        return Turn(amount, {"base_mb": round(base), "step_mb": round(peak_rss_mb() - base)})

    return work


def _update(loss: Any, model: Any, optimizer: Any) -> float:
    import torch

    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def _pair(rows: np.ndarray) -> tuple[Any, Any]:
    import torch

    tensor = torch.from_numpy(rows)
    return tensor[:, :-1], tensor[:, 1:]


def _rows(tokens: np.ndarray, block_size: int, batch: int) -> Iterator[np.ndarray]:
    """Batches in the order of the text, for ever."""
    starts = np.arange(0, len(tokens) - block_size, block_size)
    for first in range(0, 1 << 40, batch):
        chosen = starts[np.arange(first, first + batch) % len(starts)]
        yield np.stack([tokens[start : start + block_size + 1] for start in chosen]).astype(
            np.int64
        )


def _tokens(folder: str, at_least: int) -> str:
    """Real text in GPT-2's tokens, written to `folder`; says where it came from."""
    from shards.tokenizer import vocabulary
    from shards.tokenizer.encode import Tokenizer

    texts, described = prose(1_000_000)
    ids = Tokenizer(vocabulary.gpt2()).encode_array(
        pa.array(texts, pa.large_string()), end_of_text=True
    )[0]
    np.save(Path(folder) / "tokens.npy", np.resize(ids, max(at_least, len(ids))))
    return described


def _initial_weights(folder: str) -> None:
    import torch
    from safetensors.torch import save_file

    from train.gpt2.huggingface import hf_weights
    from train.gpt2.model import GPT2

    torch.manual_seed(1337)
    save_file(
        hf_weights(GPT2(Shape(**SMALL, vocab_size=VOCAB))), Path(folder) / "weights.safetensors"
    )


def _hf_config(shape: Shape) -> dict[str, Any]:
    from train.gpt2.hf_config import hf_config

    return hf_config(shape, VOCAB - 1)


def _is_projection(name: str) -> bool:
    from train.gpt2.huggingface import TRANSPOSED

    return name.endswith(TRANSPOSED)


def _add_loss_differences(result: dict[str, Any], folder: str) -> None:
    """`max_loss_diff` of each contestant with our model: how far its 50 losses are from ours at most."""
    mine = json.loads((Path(folder) / "ours.json").read_text())
    for row in result["contestants"]:
        losses = Path(folder) / f"{row['name']}.json"
        if not losses.exists():
            continue
        theirs = json.loads(losses.read_text())
        row["quality"]["loss_step_50"] = round(theirs[-1], 5)
        row["quality"]["max_loss_diff"] = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
