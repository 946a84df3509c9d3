"""Zero-shot scores of the same weights: ours and lm-evaluation-harness.

    python -m bench.train.scores [--json]

Parity: a small GPT-2 is trained for half a minute on the scored passages themselves, so that
accuracies are far from chance. Both score it on LAMBADA and two articles of WikiText; results are
shown as quality, the differences last. Speed: the first passages of LAMBADA with a model of GPT-2
small's shape and random weights. Both read local files, with prompts without <|endoftext|> and text
as tokenized, like the harness. It needs torch, transformers and lm_eval:

    python3.11 -m venv .venv-scores
    .venv-scores/bin/pip install --no-deps -r requirements/dev.lock && .venv-scores/bin/pip install -r requirements/torch.txt lm_eval==0.4.13 transformers
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from bench.material import shared
from bench.measure import Contestant, Turn, Work, arguments, compare, show

SMALL = {"n_layer": 2, "n_head": 4, "n_embd": 128, "n_positions": 256}
GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024}
NUM_ARTICLES = 2
ARTICLE_BYTES = 6_000
WINDOW, EPOCHS = 128, 25
# Of GPT-2's, in the tokenizer of the small model: the full vocabulary is most of its work.
MERGES = 1_000
# Of the harness, for the second of its contestants; the first has its default, 1.
BATCH_SIZE = 16
# In place of a batch size: our model through the harness' interface.
ADAPTED = 0


def main() -> None:
    parser = arguments(__doc__, rounds=2)
    parser.add_argument(
        "--sets",
        type=Path,
        help=(
            "folder with LAMBADA's and WikiText-2's official files "
            "(default: the test sets of the real material)"
        ),
    )
    parser.add_argument("--passages", type=int, default=60, help="of LAMBADA (default: 60)")
    args = parser.parse_args()
    sets = args.sets or shared() / "evalsets"

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_sets(sets, root, args.passages)
        _write_model(root / "small", SMALL, root)
        _write_model(root / "gpt2", GPT2, None)

        for task, unit in (("lambada", "entries/s"), ("wikitext2", "articles/s")):
            result = compare(
                f"scores-parity-{task}",
                CONTESTANTS,
                (folder, "small", task),
                description=f"{sets}: {task}, a model of 2 layers trained on it",
                unit=unit,
                rounds=1,
            )
            show(result, as_json=args.json)
            _show_differences(result)

        result = compare(
            "scores",
            CONTESTANTS,
            (folder, "gpt2", "lambada"),
            description=f"{sets}: {args.passages} passages of LAMBADA, GPT-2 small with random weights",
            unit="entries/s",
            rounds=args.rounds,
        )
        show(result, as_json=args.json)


def _show_differences(result: dict[str, Any]) -> None:
    ours, *others = result["contestants"]
    for other in others:
        for name, value in ours["quality"].items():
            print(f"{name}: ours {value:.6f}, {other['name']} {other['quality'][name]:.6f}")


def _write_sets(sets: Path, root: Path, passages: int) -> None:
    from corpus.evaluation_sets.official import find_set, missing, open_set
    from train.scores.tasks.language import articles

    found = {}
    for name in ("lambada", "wikitext2"):
        path = find_set(name, sets)
        if path is None:
            raise SystemExit(str(missing(name, sets)))
        found[name] = open_set(name, path).data

    lines = found["lambada"].decode().splitlines()[:passages]
    (root / "lambada.jsonl").write_text("".join(f"{line}\n" for line in lines))
    whole = articles(found["wikitext2"].decode())[:NUM_ARTICLES]
    pages = [f"{page[:ARTICLE_BYTES].rstrip()}\n \n" for page in whole]
    (root / "wikitext2.jsonl").write_text(
        "".join(json.dumps({"page": page}) + "\n" for page in pages)
    )
    (root / "wikitext2.txt").write_text("".join(pages))


def _write_model(folder: Path, shape: dict[str, int], train_on: Path | None) -> None:
    """A Hugging Face folder with GPT-2's tokenizer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from shards.tokenizer import vocabulary

    folder.mkdir()
    words = (
        vocabulary.gpt2()
        if train_on is None
        else vocabulary.from_merges(vocabulary.gpt2().merges[:MERGES])
    )
    (folder / "tokenizer.json").write_text(words.to_json(), "utf-8")
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": shape["n_positions"],
        **special,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    torch.manual_seed(0)
    end = words.size - 1
    settings = {"vocab_size": words.size, "bos_token_id": end, "eos_token_id": end}
    model = GPT2LMHeadModel(
        GPT2Config(**shape, **settings, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    )
    if train_on is not None:
        _train(model, *_tokens(folder, train_on))
    model.save_pretrained(folder)


def _tokens(folder: Path, root: Path) -> tuple[list[list[int]], list[int]]:
    """LAMBADA's passages, and WikiText's articles as one text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    passages = [
        json.loads(line)["text"] for line in (root / "lambada.jsonl").read_text().splitlines()
    ]
    pages = [
        json.loads(line)["page"] for line in (root / "wikitext2.jsonl").read_text().splitlines()
    ]

    return [tokenizer.encode(text).ids for text in passages], tokenizer.encode("".join(pages)).ids


def _train(model: Any, passages: list[list[int]], text: list[int]) -> None:
    """The last words of the passages, until many are known, and windows of text between them."""
    import torch

    torch.set_num_threads(1)  # the model is small: threads would wait for each other
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)

    for _ in range(EPOCHS):
        for number, place in enumerate(torch.randperm(len(passages), generator=generator).tolist()):
            _step(model, optimizer, passages[place], 3)
            if number % 2:
                start = int(torch.randint(0, len(text) - WINDOW, (1,), generator=generator))
                _step(model, optimizer, text[start : start + WINDOW], WINDOW - 1)


def _step(model: Any, optimizer: Any, tokens: list[int], count: int) -> None:
    """One update by the last `count` tokens."""
    import torch

    row = torch.tensor([tokens])
    logits = model(row, logits_to_keep=count + 1).logits[0, :-1]
    torch.nn.functional.cross_entropy(logits, row[0, -count:]).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def ours(source: tuple[str, str, str]) -> Work:
    from corpus.evaluation_sets.official import open_set
    from corpus.storage.store import open_store
    from train.config import RuntimeConfig
    from train.gpt2.pretrained import load_pretrained
    from train.machine.distributed import join_world
    from train.scores.score_set import TASKS, run_task
    from train.scores.tasks.task import Options

    folder, model, task = source
    world = join_world(RuntimeConfig(device="cpu"), {})
    loaded = load_pretrained(f"{folder}/{model}", world)
    file = "lambada.jsonl" if task == "lambada" else "wikitext2.txt"
    opened = open_set(task, Path(folder) / file, allow_altered=True)
    options = Options(detokenize=False, begin=False)

    def work() -> Turn:
        with tempfile.TemporaryDirectory() as out:
            found = run_task(
                TASKS[task], opened, loaded, world, options, open_store(out), "s", weights=""
            ).figures

        if task == "lambada":
            quality = {
                "accuracy": found["word_greedy_accuracy"],
                "perplexity": found["word_perplexity"],
            }
            return Turn(found["entries"], quality)

        pages = [
            json.loads(line)["page"]
            for line in (Path(folder) / "wikitext2.jsonl").read_text().splitlines()
        ]
        words = sum(len(re.split(r"\s+", page)) for page in pages)
        word = math.exp(found["nats"] / words)

        return Turn(len(pages), {"word_perplexity": word, "bits_per_byte": found["bits_per_byte"]})

    return work


def _lm_eval(source: tuple[str, str, str], batch_size: int) -> Work:
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    logging.disable(logging.WARNING)
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    folder, model, task = source
    tasks = Path(folder) / f"tasks-{task}-{batch_size}"
    tasks.mkdir(exist_ok=True)
    (tasks / f"local_{task}.yaml").write_text(HARNESS_TASKS[task].format(folder=folder))
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    subject: Any = (
        _adapted(f"{folder}/{model}")
        if batch_size == ADAPTED
        else HFLM(
            pretrained=f"{folder}/{model}", device="cpu", dtype="float32", batch_size=batch_size
        )
    )

    def work() -> Turn:
        found = lm_eval.simple_evaluate(
            subject,
            tasks=[f"local_{task}"],
            task_manager=manager,
            bootstrap_iters=0,
            verbosity="ERROR",
        )
        figures = {
            name.partition(",")[0]: value
            for name, value in found["results"][f"local_{task}"].items()
        }
        count = len(found["samples"][f"local_{task}"])
        if task == "lambada":
            return Turn(count, {"accuracy": figures["acc"], "perplexity": figures["perplexity"]})

        return Turn(count, {name: figures[name] for name in ("word_perplexity", "bits_per_byte")})

    return work


def _adapted(folder: str) -> Any:
    """The same weights in our model, as the harness sees it."""
    from train.config import RuntimeConfig
    from train.gpt2.pretrained import load_pretrained
    from train.machine.distributed import join_world
    from train.scores.harness import harness_model

    world = join_world(RuntimeConfig(device="cpu"), {})
    return harness_model(load_pretrained(folder, world), world)


def adapter(source: tuple[str, str, str]) -> Work:
    return _lm_eval(source, ADAPTED)


def lm_eval_default(source: tuple[str, str, str]) -> Work:
    return _lm_eval(source, 1)


def lm_eval_batched(source: tuple[str, str, str]) -> Work:
    return _lm_eval(source, BATCH_SIZE)


HARNESS_TASKS = {
    "lambada": """
task: local_lambada
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{folder}/lambada.jsonl"}}}}
output_type: loglikelihood
test_split: test
doc_to_text: "{{{{text.split(' ')[:-1]|join(' ')}}}}"
doc_to_target: "{{{{' '+text.split(' ')[-1]}}}}"
metric_list:
  - metric: perplexity
    aggregation: perplexity
    higher_is_better: false
  - metric: acc
    aggregation: mean
    higher_is_better: true
""",
    "wikitext2": """
task: local_wikitext2
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{folder}/wikitext2.jsonl"}}}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{page}}}}"
metric_list:
  - metric: word_perplexity
  - metric: bits_per_byte
""",
}

CONTESTANTS = (
    Contestant("ours", ours),
    Contestant("ours-in-lm-eval", adapter, "lm_eval"),
    Contestant("lm-eval", lm_eval_default, "lm_eval"),
    Contestant("lm-eval-16", lm_eval_batched, "lm_eval"),
)

if __name__ == "__main__":
    main()
