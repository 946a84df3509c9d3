"""Text from a GPT-2: ours with cached keys and values, ours without a cache, and transformers.

`--tokens` continue a prompt of `--prompt-tokens`, each time with the most probable token, in
float32 with untrained weights and GPT-2's vocabulary. Reading the prompt is part of the time. A
whole text of 512 tokens by a small model is `--preset mini --prompt-tokens 1 --tokens 512`.
"""

from __future__ import annotations

from typing import Any

from bench.measure import Contestant, Turn, Work, arguments, compare, show
from train.config import ModelConfig
from train.gpt2.shape import Shape

VOCAB = 50257


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--preset", default="gpt2", help="the model (default: gpt2)")
    parser.add_argument(
        "--prompt-tokens", type=int, default=512, help="length of the prompt (default: 512)"
    )
    parser.add_argument("--tokens", type=int, default=32, help="tokens to write (default: 32)")
    parser.add_argument(
        "--threads", type=int, default=0, help="CPU threads; 0: all cores (default: 0)"
    )
    args = parser.parse_args()

    shape = ModelConfig(preset=args.preset, block_size=1024).shape(VOCAB)
    contestants = [
        Contestant("ours", cached),
        Contestant("ours-recomputed", recomputed),
        Contestant("transformers", transformers, "transformers"),
    ]
    source = {
        "shape": vars(shape),
        "prompt": args.prompt_tokens,
        "tokens": args.tokens,
        "threads": args.threads,
    }

    result = compare(
        "generation", contestants, source,
        description=(
            f"{args.tokens} tokens after {args.prompt_tokens}, "
            f"{args.preset}: {shape.n_layer} layers of {shape.n_embd}"
        ),
        unit="tokens/s", rounds=args.rounds,
    )  # fmt: skip
    show(result, as_json=args.json)


def _prompt(source: dict[str, Any]) -> list[int]:
    """Any tokens do: the work is the same."""
    return [VOCAB - 1, *range(1, source["prompt"])]


def _model(source: dict[str, Any]) -> Any:
    import torch

    from train.gpt2.model import GPT2

    torch.set_num_threads(source["threads"] or torch.get_num_threads())
    torch.manual_seed(0)
    return GPT2(Shape(**source["shape"])).eval()


def cached(source: dict[str, Any]) -> Work:
    from train.config import RuntimeConfig
    from train.gpt2.sampling import Sampling, generate
    from train.machine.distributed import join_world

    model, world = (
        _model(source),
        join_world(RuntimeConfig(device="cpu", num_threads=source["threads"])),
    )

    def work() -> Turn:
        (text,) = generate(
            model, _prompt(source), num_samples=1, num_tokens=source["tokens"], sampling=Sampling(temperature=0), seed=0, stop=None,
            world=world,
        )  # fmt: skip
        return Turn(len(text), {"sum_of_ids": sum(text)})

    return work


def recomputed(source: dict[str, Any]) -> Work:
    import torch

    model = _model(source)

    def work() -> Turn:
        text = _prompt(source)
        with torch.inference_mode():
            for _ in range(source["tokens"]):
                text.append(int(model.next_logits(torch.tensor([text])).argmax()))
        return Turn(source["tokens"], {"sum_of_ids": sum(text[source["prompt"] :])})

    return work


def transformers(source: dict[str, Any]) -> Work:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from train.gpt2.hf_config import hf_config
    from train.gpt2.huggingface import hf_weights

    theirs = GPT2LMHeadModel(GPT2Config(**hf_config(Shape(**source["shape"]), VOCAB - 1))).eval()
    weights = hf_weights(_model(source))
    theirs.load_state_dict({**weights, "lm_head.weight": weights["transformer.wte.weight"]})

    def work() -> Turn:
        text = theirs.generate(
            torch.tensor([_prompt(source)]), min_new_tokens=source["tokens"], max_new_tokens=source["tokens"], do_sample=False, top_k=None,
            pad_token_id=VOCAB - 1,
        )  # fmt: skip
        return Turn(source["tokens"], {"sum_of_ids": int(text[0, source["prompt"] :].sum())})

    return work


if __name__ == "__main__":
    main()
