"""Checkpoints: whole or not there; the last k and the best stay."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from xxhash import xxh3_128

from corpus.errors import FatalError, InputError, SchemaError
from corpus.storage.local import LocalStore
from corpus.storage.store import Store, open_store
from tests.train.fakes import RemoteStore
from train.checkpoints import checkpoint as checkpoint_module
from train.checkpoints import tensor_files
from train.checkpoints.checkpoint import (
    Checkpoint,
    Checkpoints,
    best,
    check_model_shape,
    load_optimizers,
    load_weights,
    state_tensors,
)
from train.checkpoints.load import check_finite
from train.checkpoints.record import FORMAT, problem
from train.checkpoints.run_folder import RunFolder
from train.config import RuntimeConfig
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.machine.distributed import World, join_world

WORLD = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
SHAPE = Shape(1, 1, 4, 8, 10)


def model(seed: int = 0) -> GPT2:
    torch.manual_seed(seed)
    return GPT2(SHAPE)


def save(
    checkpoints: Checkpoints, step: int, val_loss: float | None = None, keep_last: int = 2
) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in model(step).state_dict().items()}
    checkpoints.save(step, tensors, {"val_loss": val_loss}, WORLD, keep_last=keep_last)


@pytest.mark.parametrize("kind", [LocalStore, RemoteStore])
def test_weights_come_back(tmp_path: Path, kind: type[LocalStore]) -> None:
    checkpoints = Checkpoints(kind(str(tmp_path)), "r")
    save(checkpoints, 3)
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.step == 3
    other = model(1)
    with checkpoints.local_copy(latest) as files:
        load_weights(other, files)
    assert all(
        torch.equal(a, b) for a, b in zip(other.parameters(), model(3).parameters(), strict=True)
    )


def test_the_last_two_and_the_best_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 2.5)):
        save(checkpoints, step, loss)
    assert [found.step for found in checkpoints.all()] == [2, 4, 5]
    assert checkpoints.find("best").step == 2
    assert checkpoints.find("last").step == 5
    assert checkpoints.find("4").step == 4
    with pytest.raises(InputError, match="no checkpoint '3'.*steps there: 2, 4, 5"):
        checkpoints.find("3")


@pytest.mark.parametrize("kind", [LocalStore, RemoteStore])
def test_a_save_that_dies_hides_nothing(
    tmp_path: Path, kind: type[LocalStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(kind(str(tmp_path)), "r")
    save(checkpoints, 1)
    with monkeypatch.context() as patch:
        patch.setattr(
            Checkpoints, "_commit", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            save(checkpoints, 2)
    assert [found.step for found in checkpoints.all()] == [1]
    save(checkpoints, 2)
    names = sorted(path.name for path in (tmp_path / "runs/r/checkpoints").iterdir())
    assert names == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("kind", [LocalStore, RemoteStore])
def test_what_kills_left_goes_with_the_next_checkpoint(
    tmp_path: Path, kind: type[LocalStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while an old one is dropped, and (where nothing can be renamed) while one is sent: a step that may never come again."""
    checkpoints = Checkpoints(kind(str(tmp_path)), "r")
    save(checkpoints, 1, keep_last=1)
    with monkeypatch.context() as patch:
        patch.setattr(
            kind, "delete_dir", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            save(checkpoints, 2, keep_last=1)
    with monkeypatch.context() as patch:
        patch.setattr(
            Checkpoints, "_commit", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            save(checkpoints, 3, keep_last=1)
    save(checkpoints, 4, keep_last=1)
    assert [path.name for path in (tmp_path / "runs/r/checkpoints").iterdir()] == ["step-00000004"]


def damage(root: Path, step: int) -> None:
    path = root / f"runs/r/checkpoints/step-{step:08}/rank-00000.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    save(checkpoints, 1)
    save(checkpoints, 2)
    damage(tmp_path, 2)
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.step == 1
    assert "rank-00000.safetensors: digest" in caplog.text


def test_a_damaged_checkpoint_takes_no_whole_ones_place(tmp_path: Path) -> None:
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    for step in (2, 8):
        save(checkpoints, step, keep_last=1)
    damage(tmp_path, 8)
    for step in (3, 4):  # the run went on from step 2
        save(checkpoints, step, keep_last=1)
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.step == 4


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "_write_tensors", full)
    with pytest.raises(FatalError, match="No space left on device; free space"):
        save(Checkpoints(open_store(str(tmp_path)), "r"), 1)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    save(checkpoints, 1)
    path = tmp_path / "runs/r/checkpoints/step-00000001/checkpoint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 9}))
    with pytest.raises(SchemaError, match="format 9, this version reads 3"):
        checkpoints.latest()


class Payload:
    """Unpickles by running a command, as a stranger's file may."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def stored(root: Path, step: int = 1) -> Path:
    return root / f"runs/r/checkpoints/step-{step:08}"


def reseal(folder: Path, **changes: Any) -> None:
    """Digests as an author of hostile files would write them."""
    record = json.loads((folder / "checkpoint.json").read_text()) | changes
    for file in record["files"]:
        path = folder / file["file"]
        if path.is_file():
            file |= {
                "bytes": path.stat().st_size,
                "digest": xxh3_128(path.read_bytes()).hexdigest(),
            }
    (folder / "checkpoint.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    "name", ["tensors.json", "rank-00000.safetensors", ".metadata", "checkpoint.json"]
)
def test_no_file_of_a_checkpoint_runs_code(tmp_path: Path, name: str) -> None:
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    save(checkpoints, 1)
    trace = tmp_path / "ran"
    for payload in (pickle.dumps(Payload(trace)), legacy(Payload(trace))):
        save(checkpoints, 1)
        folder = stored(tmp_path)
        (folder / name).write_bytes(payload)
        if name != "checkpoint.json":
            reseal(folder)
        if name == ".metadata":
            load(checkpoints)
        else:
            with pytest.raises(InputError):
                load(checkpoints)
    assert not trace.exists()


def legacy(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save({"x": torch.ones(2), "y": value}, stream)
    return stream.getvalue()


def load(checkpoints: Checkpoints) -> GPT2:
    """As generate, evaluate and resume do."""
    found = checkpoints.latest()
    assert found is not None
    other = model(1)
    optimizer = torch.optim.AdamW(other.parameters())
    with checkpoints.local_copy(found) as files:
        check_model_shape(SHAPE, files)
        load_weights(other, files)
        load_optimizers(other, [optimizer], files)
    return other


def test_a_checkpoint_with_a_pickled_index_is_refused_with_the_command(tmp_path: Path) -> None:
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    save(checkpoints, 1)
    reseal(stored(tmp_path), format=2)
    with pytest.raises(SchemaError, match="format 2, this version reads 3; export .*--rebuild"):
        checkpoints.latest()


@pytest.mark.parametrize(
    "name",
    [
        "../../../../../victim",
        "/etc/passwd",
        "rank-00000.safetensors/..",
        "checkpoint.json",
        "",
        ".",
        "x\0",
        7,
        None,
    ],
)
def test_a_record_names_only_files_that_this_code_writes(tmp_path: Path, name: Any) -> None:
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    save(checkpoints, 1)
    record = json.loads((stored(tmp_path) / "checkpoint.json").read_text())
    files = [*record["files"], {"file": name, "digest": "0" * 32, "bytes": 1}]
    (stored(tmp_path) / "checkpoint.json").write_text(json.dumps({**record, "files": files}))
    with pytest.raises(SchemaError, match="names the file"):
        checkpoints.all()


HUGE = 1 << 44


def cut(tensor: dict[str, Any], *offsets: list[int], shape: list[int] | None = None) -> None:
    """Say that the tensor is stored in pieces at these offsets."""
    piece = tensor["pieces"][0]
    tensor["pieces"] = [{**piece, "offsets": each, "shape": shape or [5, 4]} for each in offsets]


def swap(tensors: dict[str, Any], one: str, other: str) -> None:
    """Say that two tensors are each other."""
    tensors[one], tensors[other] = tensors[other], tensors[one]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update({"model.wte.weight": {**t["model.wte.weight"], "dtype": "object"}}), "type 'object'; allowed"),
        (lambda t: t["model.wte.weight"].update(shape=[HUGE, 8]), "pieces hold 40 of"),
        (lambda t: t["model.wte.weight"].update(shape=[HUGE, 8], pieces=[{"file": "rank-00000.safetensors", "offsets": [0, 0], "shape": [HUGE, 8]}]), "its tensors need"),
        (lambda t: t["model.wte.weight"]["pieces"][0].update(file="../../x"), "pattern"),
        (lambda t: t["model.wte.weight"]["pieces"][0].update(offsets=[1, 0]), "leaves the shape"),
        (lambda t: t["model.wte.weight"]["pieces"][0].update(offsets=[-1, 0]), "greater than or equal"),
        (lambda t: t["model.wte.weight"]["pieces"][0].update(offsets=[0]), "dimensions"),
        (lambda t: cut(t["model.wte.weight"], [0, 0], [0, 0]), r"a piece at \[0, 0\] of \[5, 4\], expected one at row 5"),
        (lambda t: cut(t["model.wte.weight"], [5, 0], [5, 0]), "expected one at row 0"),
        (lambda t: cut(t["model.wte.weight"], [0, 0], [0, 2], shape=[10, 2]), "expected one at row 0"),
        (lambda t: t["model.ln_f.bias"].update(dtype="int32"), r"'model.ln_f.bias@0' is F32 \[4\], tensors.json says I32"),
        (lambda t: swap(t, "model.h.0.attn.c_proj.weight", "model.h.0.mlp.c_fc.weight"), "has shape"),
        (lambda t: t["model.wte.weight"].update(code="x"), "Extra inputs"),
        (lambda t: t.pop("model.wte.weight"), "'model.wte.weight' is missing"),
        (lambda t: t.pop("model.ln_f.bias"), "no tensor 'model.ln_f.bias'"),
        (lambda t: t.update({"optimizer.wte.weight.exp_avg": t["model.ln_f.bias"]}), "shape"),
        (lambda t: t.update({"model.h.1.x": t["model.ln_f.bias"]}), "2 layers stored"),
    ],
)  # fmt: skip
def test_an_index_is_bounded_before_memory_is_taken(
    tmp_path: Path, change: Any, message: str
) -> None:
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    save(checkpoints, 1)
    path = stored(tmp_path) / "tensors.json"
    document = json.loads(path.read_text())
    change(document["tensors"])
    path.write_text(json.dumps(document))
    reseal(stored(tmp_path))
    with pytest.raises(SchemaError, match=message):
        load(checkpoints)


@pytest.mark.parametrize(
    ("stranger", "message"),
    [
        (torch.zeros(4, dtype=torch.int32), r"is I32 \[4\], tensors.json says F32 \[4\]"),
        (torch.zeros(6), r"is F32 \[6\], tensors.json says F32 \[4\]"),
        (torch.zeros(4, 1), r"is F32 \[4, 1\], tensors.json says F32 \[4\]"),
    ],
)
def test_a_file_that_contradicts_its_index_is_refused_by_tensor(
    tmp_path: Path, stranger: torch.Tensor, message: str
) -> None:
    """Integers became weights, and a part of a larger tensor was taken."""
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    save(checkpoints, 1)
    path = stored(tmp_path) / "rank-00000.safetensors"
    save_file({**load_file(path), "model.ln_f.bias@0": stranger}, path)
    reseal(stored(tmp_path))
    with pytest.raises(SchemaError, match=rf"'model\.ln_f\.bias@0' {message}"):
        load(checkpoints)


def test_weights_that_are_no_numbers_are_refused_by_tensor() -> None:
    other = model(1)
    check_finite(other, "path")
    with torch.no_grad():
        other.ln_f.bias[1:3] = torch.tensor([float("nan"), float("inf")])
    with pytest.raises(InputError, match=r"path: tensor ln_f\.bias has 2 values"):
        check_finite(other, "path")


@pytest.mark.parametrize(("missing", "fits"), [(-1, True), (0, True), (1, False)])
def test_an_index_is_read_up_to_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int, fits: bool
) -> None:
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    save(checkpoints, 1)
    size = (stored(tmp_path) / "tensors.json").stat().st_size
    monkeypatch.setattr(tensor_files, "MAX_INDEX_BYTES", size - missing)
    if fits:
        assert tensor_files.read_index(stored(tmp_path)).tensors
    else:
        with pytest.raises(SchemaError, match=f"{size:,} bytes, the limit is {size - 1:,}"):
            tensor_files.read_index(stored(tmp_path))


@pytest.mark.parametrize(("missing", "fits"), [(-1, True), (0, True), (1, False)])
def test_a_tensor_file_has_at_least_the_bytes_of_its_tensors(
    tmp_path: Path, missing: int, fits: bool
) -> None:
    """Five tensors of 2 x 3 numbers of 4 bytes."""
    piece = {"file": "rank-00000.safetensors", "offsets": [0, 0], "shape": [2, 3]}
    tensor = {"dtype": "float32", "shape": [2, 3], "pieces": [piece]}
    index = tensor_files.Index.model_validate(
        {"tensors": {f"model.{number}": tensor for number in range(5)}}
    )
    (tmp_path / "rank-00000.safetensors").write_bytes(bytes(120 - missing))
    if fits:
        tensor_files._check_file_sizes(index, tmp_path)
    else:
        with pytest.raises(SchemaError, match="119 bytes, its tensors need 120"):
            tensor_files._check_file_sizes(index, tmp_path)


def test_tensor_files_open_with_the_safetensors_library(tmp_path: Path) -> None:
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    save(checkpoints, 1)
    tensors = load_file(stored(tmp_path) / "rank-00000.safetensors")
    expected = {f"model.{name}": tensor for name, tensor in model(1).state_dict().items()}
    assert {name.partition("@")[0]: tensor.tolist() for name, tensor in tensors.items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }


def test_the_metadata_for_torch_says_what_is_stored(tmp_path: Path) -> None:
    """Its planner allocates by types and shapes before anything is read."""
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    save(checkpoints, 1)
    folder = stored(tmp_path)
    reader = tensor_files.TensorReader(folder, tensor_files.read_index(folder))
    found = reader.read_metadata().state_dict_metadata
    expected = {f"model.{name}": tensor for name, tensor in model(1).state_dict().items()}
    assert {name: (each.properties.dtype, each.size) for name, each in found.items()} == {
        name: (tensor.dtype, tensor.shape) for name, tensor in expected.items()
    }
    for each in found.values():
        assert sum(chunk.sizes.numel() for chunk in each.chunks) == each.size.numel()


def test_a_rank_that_cannot_write_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_files, "_write_file", full)
    with pytest.raises(FatalError, match="No space left on device; free space"):
        save(Checkpoints(open_store(str(tmp_path)), "r"), 1)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_files_end_in_one_line(data: st.DataObject) -> None:
    """Any byte of any file: the checkpoint loads, or is refused as wrong input."""
    with tempfile.TemporaryDirectory() as root:
        checkpoints = Checkpoints(open_store(root), "r")
        save(checkpoints, 1)
        folder = stored(Path(root))
        name = data.draw(
            st.sampled_from(["tensors.json", "rank-00000.safetensors", "checkpoint.json"])
        )
        content = bytearray((folder / name).read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            position = data.draw(st.integers(0, min(len(content), 3000) - 1))
            content[position : position + 1] = data.draw(st.binary(max_size=3))
        (folder / name).write_bytes(bytes(content))
        if name != "checkpoint.json":
            reseal(folder)
        with contextlib.suppress(InputError):
            if checkpoints.latest() is not None:
                load(checkpoints)


@pytest.mark.parametrize("value", [[], "3", {"a": 1}, 2.5])
def test_steps_of_a_strangers_run_are_numbers(tmp_path: Path, value: Any) -> None:
    """They are compared with those of the command that extends the run."""
    store = open_store(str(tmp_path))
    folder = RunFolder(store, "r")
    ours = {"settings": {"max_steps": 9}}
    store.write_json("runs/r/config.json", {"identity": {"settings": {"max_steps": value}}})
    with pytest.raises(SchemaError, match=r"runs/r/config.json"):
        folder.extend(ours, {})
    store.write_json("runs/r/config.json", {"identity": {"settings": {"max_steps": 3}}})
    store.write_json("runs/r/summary.json", {"steps": value})
    with pytest.raises(SchemaError, match=r"summary.json: steps is"):
        folder.extend(ours, {})


def test_an_interrupted_run_is_not_cut_short_by_an_extension(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    folder, lengths = RunFolder(store, "r"), (10, 5, 8, 12)
    before, fewer, as_many, more = ({"settings": {"max_steps": steps}} for steps in lengths)
    folder.claim(before, {}, rebuild=False)
    save(Checkpoints(store, "r"), 8)
    for length in (fewer, as_many):
        with pytest.raises(InputError, match="has taken 8 steps; name more .*max_steps=16"):
            folder.extend(length, {})
    assert folder.read_identity() == before
    for _ in range(2):  # the second after a kill
        folder.extend(more, {})
        assert folder.read_identity() == more


def test_boards_are_closed_although_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board with a thread of its own would hold the process."""
    store = RemoteStore(str(tmp_path))
    folder, board = RunFolder(store, "r"), mock.Mock()
    folder.open_metrics(lambda line: True, [board])

    def refuse(*_: Any) -> None:
        raise FatalError("no space")

    monkeypatch.setattr(store, "write_bytes", refuse)
    with pytest.raises(FatalError, match="no space"):
        folder.close_metrics()
    board.close.assert_called_once_with()


@pytest.mark.parametrize("order", [1, -1])
def test_a_loss_that_is_no_number_is_not_the_lowest(order: int) -> None:
    losses = [float("nan"), 3.0, 2.0, None, "1"][::order]
    found = [Checkpoint("", {"step": n, "val_loss": loss}) for n, loss in enumerate(losses)]
    lowest = best(found)
    assert lowest is not None
    assert lowest.record["val_loss"] == 2.0
    assert best([Checkpoint("", {"step": 1, "val_loss": float("nan")})]) is None


def test_a_checkpoint_that_a_running_training_drops_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is listed by a reader, and deleted before it is read."""
    store = open_store(str(tmp_path))
    checkpoints = Checkpoints(store, "r")
    for step in (1, 2):
        save(checkpoints, step)
    read = type(store).read_object

    def late(self: Store, path: str) -> dict[str, Any]:
        if "step-00000001" in path:
            self.delete(path)
        return read(self, path)

    monkeypatch.setattr(type(store), "read_object", late)
    assert [each.step for each in checkpoints.all()] == [2]


@pytest.mark.parametrize("files", [["tensors.json"], [3], [None], ["rank-00000.safetensors"]])
def test_files_of_a_record_are_files_with_digests(files: list[Any]) -> None:
    assert "expected a file with its digest" in str(
        problem({"format": FORMAT, "step": 1, "files": files})
    )


def test_an_optimizer_needs_all_of_its_states(tmp_path: Path) -> None:
    """Adam takes a parameter with one of its moments for one that has all, and fails in its step."""
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 2, dtype=torch.int64)).backward()
    optimizer.step()
    tensors = state_tensors(net, [optimizer])
    del tensors["optimizer.ln_f.bias.exp_avg"]
    found = checkpoints.save(1, tensors, {}, WORLD, keep_last=1)
    with (
        checkpoints.local_copy(found) as files,
        pytest.raises(SchemaError, match="some states of ln_f.bias are missing"),
    ):
        load_optimizers(net, [optimizer], files)


class Ranks:
    """Values that the threads of a world exchange."""

    def __init__(self, size: int) -> None:
        self.values: list[Any] = [None] * size
        self.all_here = threading.Barrier(size, timeout=30)


@dataclass(frozen=True)
class ThreadWorld(World):
    """A rank that is a thread of this process."""

    ranks: Ranks = field(default_factory=lambda: Ranks(1))

    def gather(self, value: Any) -> list[Any]:
        self.ranks.values[self.rank] = value
        self.ranks.all_here.wait()
        found = list(self.ranks.values)
        self.ranks.all_here.wait()
        return found

    def barrier(self) -> None:
        self.ranks.all_here.wait()


def test_a_folder_that_cannot_be_made_ends_every_rank(tmp_path: Path) -> None:
    """The main rank makes it. The others waited for it until their time limit."""
    store = LocalStore(str(tmp_path))
    store.write_bytes("runs", b"a file where the folder would be")
    ranks = Ranks(2)
    worlds = [
        ThreadWorld(rank, 2, rank, torch.device("cpu"), torch.float32, ranks=ranks)
        for rank in range(2)
    ]

    def begin(world: World) -> str:
        with pytest.raises(FatalError) as raised:
            Checkpoints(store, "r").begin(1, {}, {}, world, keep_last=1)
        return str(raised.value)

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(begin, worlds))
    assert said[0] == said[1]
    assert "cannot write" in said[0]
    assert "free space or fix access" in said[0]
