"""Batches on the device, and the stream as a torch dataset."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from corpus.config import load_config
from corpus.errors import ConfigError, InputError
from corpus.snapshots.snapshot import read_snapshot
from corpus.storage.store import open_store
from shards.reader import BlockStream, MixtureStream, PackedStream, open_split, packed_fields
from tests.shards.state_values import VALUES
from tests.support.document_corpus import commit_batch, documents, make_shards
from tests.train.fakes import TOKENIZER, FakeStream
from train import job
from train.config import TrainConfig
from train.data import TokenDataset, device_batch
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.run import main


def test_targets_are_the_tokens_one_later() -> None:
    rows = FakeStream().next_batch(4)
    tokens, targets = device_batch(rows, torch.device("cpu"))
    assert tokens.tolist() == rows[:, :-1].tolist()
    assert targets.tolist() == rows[:, 1:].tolist()


def test_a_dataset_continues_where_its_state_was_taken_on_any_number_of_ranks() -> None:
    whole = [
        tokens
        for tokens, _ in islice(DataLoader(TokenDataset(FakeStream(), 4), batch_size=None), 6)
    ]
    first = TokenDataset(FakeStream(), 4)
    begun = [tokens for tokens, _ in islice(first, 2)]
    ranks = [TokenDataset(FakeStream(), 4, rank=rank, world_size=2) for rank in range(2)]
    for dataset in ranks:
        dataset.load_state_dict(first.state_dict())
    rest = [
        torch.cat([tokens for tokens, _ in parts]) for parts in islice(zip(*ranks, strict=True), 4)
    ]
    assert all(torch.equal(a, b) for a, b in zip(whole, [*begun, *rest], strict=True))


@pytest.mark.parametrize("workers", [1, 2])
def test_loader_processes_give_the_same_batches_in_order(corpus: Path, workers: int) -> None:
    """A plain DataLoader with workers, from any position."""

    def dataset() -> TokenDataset:
        stream = BlockStream(open_split(str(corpus), "b", "train"), block_size=64, seed=3, index=8)
        return TokenDataset(stream, 4)

    alone = [tokens for tokens, _ in islice(dataset(), 9)]
    loader = DataLoader(dataset(), batch_size=None, num_workers=workers)
    assert torch.equal(torch.stack(alone), torch.stack([t for t, _ in islice(loader, 9)]))


@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")  # asked for by torchdata
@pytest.mark.parametrize("taken", [3, 7])
def test_a_stateful_loader_with_workers_continues_packed_rows(corpus: Path, taken: int) -> None:
    """As torchtitan saves its loader: state_dict in the checkpoint, loaded by a new process."""

    def loader(seed: int = 3) -> StatefulDataLoader:
        split = open_split(str(corpus), "b", "train")
        stream = PackedStream(split, block_size=64, seed=seed)
        dataset = TokenDataset(stream, 4, end_of_text=split.end_of_text)
        return StatefulDataLoader(dataset, batch_size=None, num_workers=2)

    whole = [batch["input_ids"] for batch in islice(loader(), 12)]
    first = loader()
    begun = [batch["input_ids"] for batch in islice(iter(first), taken)]
    state = first.state_dict()
    later = loader(seed=0)
    later.load_state_dict(state)
    rest = [batch["input_ids"] for batch in islice(iter(later), 12 - taken)]
    assert torch.equal(torch.stack(whole), torch.stack([*begun, *rest]))


def test_a_worker_s_state_is_not_taken_for_a_whole_one(corpus: Path) -> None:
    dataset = TokenDataset(
        BlockStream(open_split(str(corpus), "b", "train"), block_size=64, seed=3), 4
    )
    with pytest.raises(InputError, match="loader process 1"):
        dataset.load_state_dict({**dataset.state_dict(), "worker": 1})
    for bad in (None, [], "x"):
        with pytest.raises(InputError, match="stream state"):
            dataset.load_state_dict(bad)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")  # asked for by torchdata
def test_loaders_refuse_anything_but_a_state(corpus: Path) -> None:
    """In a dataset at once; in a StatefulDataLoader, which restores late, at the first batch."""
    split = open_split(str(corpus), "b", "train")
    dataset = TokenDataset(BlockStream(split, block_size=64, seed=3), 4)
    good = dataset.state_dict()
    loader = StatefulDataLoader(dataset, batch_size=None)
    next(iter(loader))
    saved = loader.state_dict()

    @settings(max_examples=60, deadline=None)
    @given(
        VALUES.filter(lambda value: value is not None)
        | st.builds(
            lambda key, value: {**good, key: value},
            st.sampled_from([*good, "worker", "more"]),
            VALUES,
        )
    )
    def refused(state: Any) -> None:
        try:
            dataset.load_state_dict(state)
        except InputError:
            later = StatefulDataLoader(dataset, batch_size=None)
            later.load_state_dict({**saved, "dataset_state": state})
            with pytest.raises(InputError, match="state"):
                next(iter(later))
            return

        assert all(state[key] == good[key] for key in good.keys() - {"seed", "epoch", "index"})

    refused()


def test_packed_rows_train_like_each_document_alone(corpus: Path) -> None:
    """Loss and gradients of packed rows are those of the documents one by one."""
    split = open_split(str(corpus), "b", "train")
    end = split.end_of_text
    rows = PackedStream(split, block_size=32, seed=1).next_batch(6)
    fields = packed_fields(rows, end)
    torch.manual_seed(0)
    shape = Shape(2, 2, 16, 32, split.vocab_size)
    packed = GPT2(shape, document_end=end, restart_positions=True)
    loss = packed(*device_batch(rows, torch.device("cpu"), document_end=end))
    assert (
        device_batch(rows, torch.device("cpu"), document_end=end)[1].tolist()
        == fields.labels.tolist()
    )
    loss.backward()
    together = [parameter.grad.clone() for parameter in packed.parameters()]

    plain = GPT2(shape)
    plain.load_state_dict(packed.state_dict())
    alone = torch.zeros(())
    flat, labels = rows[:, :-1].ravel(), fields.labels.ravel()
    for start, stop in zip(
        fields.cu_seqlens[:-1].tolist(), fields.cu_seqlens[1:].tolist(), strict=True
    ):
        wanted = torch.from_numpy(labels[start:stop].copy())[None]
        kept = int((wanted >= 0).sum())
        if kept:
            tokens = torch.from_numpy(flat[start : start + kept].copy())[None]
            alone = alone + plain(tokens, wanted[:, :kept])
    alone.backward()
    assert torch.allclose(loss, alone, rtol=1e-5)
    for ours, parameter in zip(together, plain.parameters(), strict=True):
        assert torch.allclose(ours, parameter.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")  # asked for by torchdata
def test_a_stateful_loader_saves_and_continues_the_stream(corpus: Path) -> None:
    """torchdata's protocol, over the real stream: saved in the middle of an epoch, continued in a new loader."""

    def loader(seed: int = 3) -> StatefulDataLoader:
        stream = BlockStream(open_split(str(corpus), "b", "train"), block_size=64, seed=seed)
        return StatefulDataLoader(TokenDataset(stream, 4), batch_size=None)

    whole = [tokens for tokens, _ in islice(loader(), 30)]
    first = loader()
    begun = [tokens for tokens, _ in islice(first, 11)]
    state = first.state_dict()
    later = loader(seed=0)
    later.load_state_dict(state)
    rest = [tokens for tokens, _ in islice(later, 19)]
    assert torch.equal(torch.stack(whole), torch.stack([*begun, *rest]))
    assert len({tokens.numpy().tobytes() for tokens in whole}) == 30


def test_settings_choose_mixture_window_and_cache(
    corpus_copy: Path, tmp_path: Path, s3_bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commit_batch(str(corpus_copy), "b2", documents(20, seed=1))
    make_shards(str(corpus_copy), "b2", *TOKENIZER)
    remote = open_store(f"{s3_bucket}/corpus")
    for path in corpus_copy.rglob("*"):
        if path.is_file():
            remote.write_bytes(path.relative_to(corpus_copy).as_posix(), path.read_bytes())
    sets = [
        'train.data.sources=[{weight=3, batches=["b"]}, {weight=1, domains=["example.org"]}]',
        "train.data.window=2",
        f"train.runtime.token_cache={tmp_path / 'cache'}",
    ]
    config = load_config(TrainConfig, "train", sets=sets)
    logged = ""
    for store in (open_store(str(corpus_copy)), remote):
        cache = job.token_cache_of(store, config)
        assert (cache is None) == store.is_local
        mixture = job.train_stream(store, "b2", config, 64, cache)
        assert isinstance(mixture, MixtureStream)
        assert mixture.window == 2
        assert np.bincount(mixture.sources(np.arange(4096))[0]).tolist() == [3072, 1024]
        job._warn_of_small_window(
            open_split(store.root, "b2", "train", cache=cache), mixture.window
        )
        mixture.next_batch(8)
        found = job._passes(mixture, config)
        assert list(found) == ["source 1 (batches b)", "source 2 (domains example.org)"]
        shares = job._sources(mixture, config)
        assert list(shares) == list(found)
        assert [each["samples_share"] for each in shares.values()] == [0.75, 0.25]
        assert sum(each["tokens_share"] for each in shares.values()) == pytest.approx(1)
        logged += capsys.readouterr().err
        assert "75.0 % of the samples, " in logged
        assert f"% of the tokens ({int(shares['source 1 (batches b)']['tokens']):,})" in logged
        limited = load_config(TrainConfig, "train", sets=[*sets, "train.data.max_passes=0.001"])
        with pytest.raises(InputError, match=r"passes?.* over source 1 \(batches b\)"):
            job._passes(mixture, limited)
        plain = job.train_stream(store, "b2", TrainConfig(seed=5), 64, cache)
        assert isinstance(plain, BlockStream)
        assert plain.seed == 5
        plain.next_batch(8)
    assert list((tmp_path / "cache").iterdir())
    warning = (
        "train.data.window = 2: an epoch fetches up to 2.00 times the split's bytes; at most 1.2"
    )
    assert warning in logged
    assert config.decisive()["data"]["window"] == 2
    assert "token_cache" not in str(config.decisive())
    weighed = load_config(TrainConfig, "train", sets=["train.data.sample_by=score"])
    with pytest.raises(InputError, match="on both sides of a sweep"):
        job._held_out(job.train_stream(remote, "b2", weighed, 64, cache), weighed, 0.1)
    weighed = load_config(TrainConfig, "train", sets=[*sets, "train.data.sample_by=score"])
    with pytest.raises(InputError, match="sample_by weighs the documents of a whole split"):
        job.train_stream(remote, "b2", weighed, 64, cache)
    with pytest.raises(InputError, match="leave the mixture out"):
        job._held_out(mixture, config, 0.1)
    with pytest.raises(ConfigError, match=r"data\.sources\.0\.weight"):
        load_config(TrainConfig, "train", sets=["train.data.sources=[{weight=0}]"])


def test_a_flipped_byte_is_found_before_the_first_step(
    corpus_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(corpus_copy)
    file = read_snapshot(open_store(root), "b").splits["val"].files[-1]
    groups = len(file.row_groups)
    path = corpus_copy / file.path
    data = bytearray(path.read_bytes())
    data[file.row_groups[-1].offset + 100] ^= 1
    path.write_bytes(data)
    arguments = [
        "--corpus",
        root,
        "--snapshot",
        "b",
        "--run",
        "r",
        "--set",
        "train.model.preset=tiny",
    ]
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{file.path}: row group {groups - 1} of {groups} has digest" in error
    assert f"`webtext shards --corpus {root} --batch b --rebuild`" in error
