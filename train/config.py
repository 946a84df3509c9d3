"""Settings of a training run: the shape, the recipe, and how the machine is used.

`Shape`s and learning rates of the presets stand here once. What decides the result (model,
optimizer, data order) is compared when a run is resumed; what only decides how it is computed or
kept (`RuntimeConfig`) is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from corpus.config import Section
from corpus.errors import ConfigError
from shards.reader import Packing, Source
from train.gpt2.shape import Shape

PresetName = Literal["tiny", "mini", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]


@dataclass(frozen=True)
class ModelPreset:
    """A named shape with the recipe that suits it."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    learning_rate: float
    """Peak of AdamW's schedule.

    GPT-2 sizes: Brown et al. 2020, table 2.1; tiny, mini: swept on 2 CPU cores.
    """
    batch_size: int
    """Sequences per optimizer step, all ranks together. GPT-2 sizes: 512, the paper's."""


# Layers, heads, widths of the four GPT-2 sizes: Radford et al. 2019, table 2 (heads from the
# released code).
PRESETS: dict[str, ModelPreset] = {
    "tiny": ModelPreset(4, 4, 128, 256, 2e-3, 8),
    "mini": ModelPreset(6, 6, 384, 512, 1e-3, 32),
    "gpt2": ModelPreset(12, 12, 768, 1024, 6e-4, 512),
    "gpt2-medium": ModelPreset(24, 16, 1024, 1024, 3e-4, 512),
    "gpt2-large": ModelPreset(36, 20, 1280, 1024, 2.5e-4, 512),
    "gpt2-xl": ModelPreset(48, 25, 1600, 1024, 2e-4, 512),
}


class ModelConfig(Section):
    """The shape of the GPT-2. A number given here overrides the preset's."""

    preset: PresetName = "gpt2"
    """Named shape and recipe: tiny, mini (CPUs), gpt2 (124M), gpt2-medium (355M), gpt2-large (774M), gpt2-xl (1.5B)."""
    n_layer: int | None = Field(default=None, ge=1)
    """Layers; none: the preset's."""
    n_head: int | None = Field(default=None, ge=1)
    """Attention heads, a divisor of n_embd; none: the preset's."""
    n_embd: int | None = Field(default=None, ge=1)
    """Channels of the residual stream; none: the preset's."""
    block_size: int | None = Field(default=None, ge=2)
    """Context in tokens; none: the preset's (1,024 for GPT-2 sizes)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout fraction.

    0 as in current practice: all GPT-2 models underfit their corpus (paper, section 3).
    """
    document_mask: bool = False
    """Keep attention inside a document; GPT-2 attends across <|endoftext|>, hence false."""

    @property
    def recipe(self) -> ModelPreset:
        """The preset this config starts from."""
        return PRESETS[self.preset]

    def shape(self, vocab_size: int) -> Shape:
        """The resolved shape for a vocabulary of `vocab_size` ids."""
        recipe = self.recipe
        shape = Shape(
            n_layer=self.n_layer or recipe.n_layer,
            n_head=self.n_head or recipe.n_head,
            n_embd=self.n_embd or recipe.n_embd,
            block_size=self.block_size or recipe.block_size,
            vocab_size=vocab_size,
        )
        if shape.n_embd % shape.n_head:
            raise ConfigError(
                f"train.model.n_embd = {shape.n_embd}: not a multiple of n_head = {shape.n_head}"
            )

        return shape


class OptimizerConfig(Section):
    """The update rule and its learning-rate schedule."""

    name: Literal["adamw", "muon"] = "adamw"
    """adamw, or muon for the hidden matrices with AdamW for the rest."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak of AdamW's schedule; none: the preset's."""
    muon_learning_rate: float = Field(default=0.02, gt=0)
    """Peak for the hidden matrices under muon; from Jordan et al. 2024."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of AdamW's first moment; GPT-3's."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of AdamW's second moment; GPT-3's."""
    eps: float = Field(default=1e-8, gt=0)
    """AdamW's denominator floor; GPT-3's."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled decay of matrices; biases and layer norms have none. GPT-3's."""
    grad_clip: float = Field(default=1.0, ge=0)
    """Largest gradient norm; 0: no clipping. GPT-3's."""
    schedule: Literal["cosine", "wsd"] = "cosine"
    """After warm-up: cosine decay, or wsd (stable, then linear decay at the end)."""
    warmup_frac: float = Field(default=0.02, ge=0, le=1)
    """Share of the steps that warm up linearly; about llm.c's 700 of 18,865, less."""
    decay_frac: float = Field(default=0.2, ge=0, le=1)
    """wsd only: share of the steps that decay; from Hagele et al. 2024."""
    final_frac: float = Field(default=0.1, ge=0, le=1)
    """Learning rate of the last step as a share of the peak; GPT-3's."""

    def without_effect(self) -> dict[str, str]:
        """The settings of an update rule or schedule that is not chosen."""
        off = {}
        if self.name != "muon":
            off["muon_learning_rate"] = f"train.optimizer.name is {self.name!r}"
        if self.schedule != "wsd":
            off["decay_frac"] = f"train.optimizer.schedule is {self.schedule!r}"
        return off


class DivergenceConfig(Section):
    """The reaction to a batch with a bad loss. Its documents are named."""

    on_nan: Literal["stop", "skip"] = "stop"
    """A loss or gradient that is not finite: stop before the update, or go on without it."""
    on_spike: Literal["warn", "stop", "skip"] = "warn"
    """A loss spike: only say so, stop before the update, or go on without it."""
    spike_nats: float = Field(default=2.0, gt=0)
    """How far above the median of the last losses a spike is, nats per token."""
    window: int = Field(default=50, ge=2)
    """How many losses the median is taken of; before there are so many nothing is a spike."""
    max_skips: int = Field(default=10, ge=1)
    """Batches skipped one after another before the run stops all the same."""


class DataConfig(Section):
    """The tokens of the training, their proportions and order."""

    sources: list[Source] = []
    """Mixture, as [{weight = 3, batches = ["2024-01"]}, {weight = 1, domains = ["arxiv.org"]}].

    None: all, once an epoch.
    """
    max_passes: float | None = Field(default=None, gt=0)
    """Most passes over any source that a run may make; none: no limit.

    The passes are logged and recorded either way.
    """
    sample_by: str = ""
    """Numeric column of `documents` that weighs them, as `score` (votes), `quality` or `num_words`,
    or `duplicates` (how often a page was copied); empty: each once an epoch.

    A document comes value / median times an epoch, at least once and at most 8 times.
    """
    packing: Packing = "stream"
    """stream: blocks cut from documents end to end, as GPT-2's.

    Documents: whole documents packed by best fit, each attending to itself alone.
    """
    window: int | None = Field(default=None, ge=0)
    """Row groups from which samples come at a time.

    0: all; none: all, unless the tokens of an object store exceed token_cache_bytes: then as many
    as the cache takes.
    """


class RuntimeConfig(Section):
    """Use of the machine, and files to keep. Without effect on the weights, up to rounding."""

    outside_corpus = frozenset({"wandb_project", "trackio_project"})

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, cuda:1."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the matrix products; auto: bfloat16 on GPUs that have it, else float32.

    Weights stay float32.
    """
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Most sequences per forward pass and rank, the rest is accumulated.

    None: as many as a GPU's memory holds, up to 64; 2,048 tokens on a CPU.
    """
    compile: bool = False
    """Compile the model with torch.compile; pays on GPUs after a minute."""
    document_attention: Literal["auto", "dense", "varlen"] = "auto"
    """Attention inside documents, under train.model.document_mask or packing = documents.

    dense: by a mask of all pairs; varlen: by the documents' bounds; auto: varlen if it can run.
    """
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    parallel: Literal["ddp", "fsdp", "hsdp"] = "ddp"
    """Several processes: ddp keeps the whole model in each; fsdp (FSDP2) shards weights and states.

    hsdp shards them among the ranks of a machine, and copies the shards to every machine.
    """
    num_threads: int = Field(default=0, ge=0)
    """CPU threads per process; 0: all cores (divided by the ranks of this host)."""
    log_interval: int = Field(default=10, ge=1)
    """Steps between lines of metrics.jsonl."""
    progress_interval_s: float = Field(default=10.0, gt=0)
    """Seconds between progress lines."""
    keep_last: int = Field(default=2, ge=1)
    """Newest checkpoints kept, besides the one with the lowest validation loss."""
    checkpoint_interval: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; none: eval_interval.

    One is always written at the end and on a stop.
    """
    async_checkpoints: bool = True
    """Write checkpoints beside the training, from a copy in host memory.

    False: training waits for the file.
    """
    tensorboard: bool = True
    """Write the curves for TensorBoard too: runs/<run>/tensorboard/."""
    wandb_project: str = ""
    """Send the curves to this Weights & Biases project too (pip install wandb); empty: no."""
    trackio_project: str = ""
    """Write the curves to this trackio project too (pip install trackio); empty: no."""
    rank_timeout_s: float = Field(default=1800.0, gt=0)
    """Longest wait for another rank, which may be sampling or sending a checkpoint.

    Ranks that are behind are named after half of it; at its end the run ends.
    """
    verify_tokens: bool = True
    """Compare all token files of a local corpus with their digests before the first step: 20 GB take some 20 s."""
    token_cache: str = ""
    """Folder for tokens fetched from an object store.

    Empty: webtext/tokens in the user's cache folder.
    """
    token_cache_bytes: int = Field(default=16 << 30, ge=1)
    """Most bytes kept there; with a window, room for three of it is enough."""
    peak_tflops: float | None = Field(default=None, gt=0)
    """Peak of one device in 10^12 operations a second, for MFU.

    None: known by name, else measured with a matrix product.
    """


class TrainConfig(Section):
    """Everything `train.run` can be told."""

    common = frozenset(
        {
            "model.preset",
            "optimizer.learning_rate",
            "batch_size",
            "max_steps",
            "epochs",
            "init_from",
        }
    )

    model: ModelConfig = ModelConfig()
    """Which GPT-2."""
    data: DataConfig = DataConfig()
    """Which tokens, in what proportions and order."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The update rule and its schedule."""
    divergence: DivergenceConfig = DivergenceConfig()
    """What to do with a bad batch."""
    runtime: RuntimeConfig = RuntimeConfig()
    """How the machine is used."""
    init_from: str = ""
    """Begin with the weights of RUN or RUN:CHECKPOINT of this corpus, or of a Hugging Face GPT-2's folder.

    Empty: random weights. Unset sizes of train.model are the parent's.
    """
    init_state: Literal["weights", "all"] = "weights"
    """weights: a fresh optimizer and schedule from step 0.

    all: moments, step and schedule go on after the parent's; on the same tokens, so do the samples.
    """
    seed: int = Field(default=1337, ge=0, lt=2**63)
    """Seed of weights, sample order, dropout and samples."""
    batch_size: int | None = Field(default=None, ge=1)
    """Sequences per optimizer step over all ranks.

    None: the preset's (512 for GPT-2 sizes, the paper's).
    """
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; none: as many as `epochs` takes."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the training split when max_steps is not given."""
    eval_interval: int | None = Field(default=None, ge=1)
    """Steps between evaluations of the whole validation split, with samples.

    None: a tenth of the run, at most 1,000. More than the run has: only at its end.
    """
    num_samples: int = Field(default=2, ge=0)
    """Texts sampled at each evaluation."""
    sample_tokens: int = Field(default=128, ge=1)
    """Length of a sample in tokens."""

    def without_effect(self) -> dict[str, str]:
        """The number of passes, if the number of steps is given."""
        return {} if self.max_steps is None else {"epochs": "train.max_steps is set"}

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.model.shape(vocab_size=1)
        return self

    @property
    def resolved_batch_size(self) -> int:
        """Sequences per optimizer step over all ranks."""
        return self.batch_size or self.model.recipe.batch_size

    @property
    def resolved_learning_rate(self) -> float:
        """Peak learning rate of AdamW."""
        return self.optimizer.learning_rate or self.model.recipe.learning_rate

    def steps(self, num_blocks: int) -> int:
        """Optimizer steps of the run over a training split of `num_blocks` blocks, at least 1."""
        if self.max_steps is not None:
            return self.max_steps
        return max(1, round(self.epochs * num_blocks / self.resolved_batch_size))

    def decisive(self) -> dict[str, Any]:
        """The settings that decide the result, defaults of the preset filled in: what a resumed run must share."""
        settings: dict[str, Any] = self.effective().model_dump(
            exclude={"runtime", "divergence", "num_samples", "sample_tokens"}
        )
        shape = self.model.shape(vocab_size=1)
        for name in ("n_layer", "n_head", "n_embd", "block_size"):
            settings["model"][name] = getattr(shape, name)
        settings["optimizer"]["learning_rate"] = self.resolved_learning_rate
        settings["batch_size"] = self.resolved_batch_size
        if self.data.packing == "stream":
            # Runs of earlier versions have no such setting.
            del settings["data"]["packing"]
        if not self.data.sample_by:
            del settings["data"]["sample_by"]
        # One that is chosen by the cache is compared with the stream's own state.
        settings["data"]["window"] = self.data.window or 0
        if not self.init_from:
            # Runs of earlier versions have no such settings.
            del settings["init_from"], settings["init_state"]
        # A limit decides whether a run starts, not what it learns.
        del settings["data"]["max_passes"]
        return settings
