"""Text from a GPT-2: ours with cached keys and values, ours computing everything again for each token, transformers' generate.

One continuation of 512 tokens from an untrained `mini` with GPT-2's vocabulary, most probable token each time, float32.
"""

from __future__ import annotations

from typing import Any

from bench.measure import Contestant, Turn, Work, arguments, compare, show
from train.config import ModelConfig
from train.shape import Shape

VOCAB, TOKENS = 50257, 512
PROMPT = [VOCAB - 1]


def main() -> None:
    args = arguments(__doc__, rounds=3).parse_args()
    shape = ModelConfig(preset="mini", block_size=1024).shape(VOCAB)
    contestants = [
        Contestant("ours", cached),
        Contestant("ours-recomputed", recomputed),
        Contestant("transformers", transformers, "transformers"),
    ]
    result = compare(
        "generation", contestants, vars(shape),
        description=f"{TOKENS} tokens, {shape.n_layer} layers of {shape.n_embd}", unit="tokens/s", rounds=args.rounds,
    )  # fmt: skip
    show(result, as_json=args.json)


def _model(source: dict[str, int]) -> Any:
    import torch

    from train.model import GPT2

    torch.manual_seed(0)
    return GPT2(Shape(**source)).eval()


def cached(source: dict[str, int]) -> Work:
    from train.config import RuntimeConfig
    from train.distributed import join_world
    from train.sampling import Sampling, generate

    model, world = _model(source), join_world(RuntimeConfig(device="cpu"))

    def work() -> Turn:
        (text,) = generate(
            model, PROMPT, num_samples=1, num_tokens=TOKENS, sampling=Sampling(temperature=0), seed=0, stop=None,
            world=world,
        )  # fmt: skip
        return Turn(len(text), {"sum_of_ids": sum(text)})

    return work


def recomputed(source: dict[str, int]) -> Work:
    import torch

    model = _model(source)

    def work() -> Turn:
        text = list(PROMPT)
        with torch.inference_mode():
            for _ in range(TOKENS):
                text.append(int(model.next_logits(torch.tensor([text])).argmax()))
        return Turn(TOKENS, {"sum_of_ids": sum(text[1:])})

    return work


def transformers(source: dict[str, int]) -> Work:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from train.huggingface import hf_config, hf_weights

    theirs = GPT2LMHeadModel(GPT2Config(**hf_config(Shape(**source), VOCAB - 1))).eval()
    weights = hf_weights(_model(source))
    theirs.load_state_dict({**weights, "lm_head.weight": weights["transformer.wte.weight"]})

    def work() -> Turn:
        text = theirs.generate(
            torch.tensor([PROMPT]), min_new_tokens=TOKENS, max_new_tokens=TOKENS, do_sample=False, top_k=None,
            pad_token_id=VOCAB - 1,
        )  # fmt: skip
        return Turn(TOKENS, {"sum_of_ids": int(text[0, 1:].sum())})

    return work


if __name__ == "__main__":
    main()
