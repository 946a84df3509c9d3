"""The card of an exported model, README.md beside its weights: data, recipe, curve, scores, overlap.

Every figure is read from the run's folder and the snapshot's tables; what is not known is said to
be unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from corpus.markdown import front_matter, markdown_table
from corpus.printable import printable
from corpus.snapshots.snapshot import SnapshotHead, read_head, snapshot_path
from corpus.snapshots.snapshot_remarks import Reviewer
from corpus.storage.store import Store
from train.checkpoints.load import LoadedModel
from train.checkpoints.run_folder import RunFolder
from train.scores.score_set import overlaps

PARAGRAPH = "\n\n"


def model_card(store: Store, run: str, loaded: LoadedModel, *, license_name: str, use: str) -> str:
    """The whole README.md. `use` says how the files beside it are loaded (Markdown)."""
    name = loaded.described.get("snapshot")
    snapshot = read_head(store, name) if name and store.exists(snapshot_path(name)) else None
    folder = RunFolder(store, run)

    sections = [
        _metadata(license_name),
        f"# {printable(run)}",
        _introduction(loaded),
        "## Use" + PARAGRAPH + use,
        "## Data" + PARAGRAPH + _data(store, loaded, snapshot),
        "## Recipe" + PARAGRAPH + _recipe(loaded),
        "## Curve" + PARAGRAPH + _curve(folder),
        "## Scores" + PARAGRAPH + _scores(folder, loaded),
        "## Overlap with test sets" + PARAGRAPH + _overlap(store, snapshot),
        "## Limits" + PARAGRAPH + LIMITS,
    ]
    return PARAGRAPH.join(sections) + "\n"


HF_USE = """```python
from transformers import AutoTokenizer, GPT2LMHeadModel

model = GPT2LMHeadModel.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```

`vllm serve FOLDER` and TGI (`--model-id FOLDER`) read the same folder."""
GGUF_USE = """    llama-cli -m {file} -p "The" -n 64 --temp 0

Ollama reads it by a Modelfile of one line, `FROM ./{file}`."""
LIMITS = (
    "A language model repeats what its corpus says, also what is wrong, offensive or personal "
    "there; it was not aligned, and its figures above are all that was measured."
)


def _metadata(license_name: str) -> str:
    record = {
        "license": license_name,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["gpt2", "webtext"],
    }
    return front_matter(record)


def _introduction(loaded: LoadedModel) -> str:
    shape = loaded.model.shape
    count = sum(parameter.numel() for parameter in loaded.model.parameters())
    return (
        f"A GPT-2 of {count:,} parameters ({shape.n_layer} layers, {shape.n_head} heads, "
        f"{shape.n_embd} wide, context {shape.block_size}, vocabulary {shape.vocab_size:,}) after "
        f"{loaded.step:,} steps. Fingerprint of its weights: `{loaded.weights}`."
    )


def _data(store: Store, loaded: LoadedModel, snapshot: SnapshotHead | None) -> str:
    digest = loaded.identity.get("snapshot_digest", "unknown")
    if snapshot is None:
        origin = loaded.identity.get("imported_from") or loaded.described.get("snapshot")
        return f"Snapshot `{printable(str(origin))}`, not in this corpus; digest `{digest}`."

    tokens = sum(each.num_tokens for each in snapshot.splits.values())
    documents = sum(each.num_documents for each in snapshot.splits.values())
    months = ", ".join(each.batch for each in snapshot.batches)
    lines = [
        f"Snapshot `{snapshot.name}`, digest `{digest}`: {documents:,} documents, {tokens:,} tokens, "
        f"batches {months}. Tokenizer `{snapshot.tokenizer_fingerprint}`."
    ]
    if digest != snapshot.digest:
        lines.append(f"**The snapshot of that name is another one today: `{snapshot.digest}`.**")

    remarks = Reviewer(store, [snapshot]).remarks(snapshot)
    lines += [f"The snapshot {remark}." for remark in remarks]
    return PARAGRAPH.join(lines)


def _recipe(loaded: LoadedModel) -> str:
    settings = loaded.identity["settings"]
    batch, block = settings.get("batch_size"), loaded.model.shape.block_size
    seen = f"{batch * block * loaded.step:,} tokens seen. " if batch else ""
    document = json.dumps(settings, indent=1, sort_keys=True)
    return f"{seen}Settings that decide the weights:\n\n```json\n{document}\n```"


def _curve(folder: RunFolder) -> str:
    lines = [line for line in folder.metrics() if isinstance(line.get("val_loss"), int | float)]
    if not lines:
        return "Not recorded."
    # A dozen points tell the course; the last one always belongs to it.
    stride = -(-len(lines) // 12)
    chosen = lines[::-1][::stride][::-1]
    rows = ((f"{line['step']:,}", f"{line['val_loss']:.4f}") for line in chosen)
    return markdown_table(("step", "validation loss, nats a token"), rows)


def _scores(folder: RunFolder, loaded: LoadedModel) -> str:
    found: Mapping[str, Any] = folder.read("scores.json") or {}
    if not found.get("sets"):
        return "Not scored."
    if found.get("weights") != loaded.weights:
        return f"Not scored at this step; step {found.get('step')} was."

    rows = [
        (name, measure, f"{value:.4g}")
        for name, figures in sorted(found["sets"].items())
        for measure, value in sorted(figures.items())
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return (
        f"Computed in {found.get('dtype')}."
        + PARAGRAPH
        + markdown_table(("set", "figure", "value"), rows)
    )


def _overlap(store: Store, snapshot: SnapshotHead | None) -> str:
    batches = [each.batch for each in snapshot.batches] if snapshot else []
    found = overlaps(store, batches)
    if not found:
        return "No test sets were named: overlap was not removed from the data."

    rows = ((name, f"{each.share:.2%}") for name, each in sorted(found.items()))
    return (
        "Share of each set's 8-grams left in the data."
        + PARAGRAPH
        + markdown_table(("set", "left"), rows)
    )
