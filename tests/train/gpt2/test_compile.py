"""One static graph serves all training steps, whatever evaluations, samples and resumes come between."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.train.fakes import ALONE, FakeStream, KilledError, config, job, raising
from tests.train.worlds import train_in_world
from train.gpt2.model import GPT2
from train.gpt2.sampling import Sampling, generate
from train.loop import Trainer

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")

STEPS, LAYERS = 12, 2


class Graphs:
    """A backend that runs graphs as they are, and counts them and their calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_graphs = self.num_calls = 0
        monkeypatch.setattr(
            torch.nn.Module,
            "compile",
            lambda block: setattr(
                block, "_compiled_call_impl", torch.compile(block._call_impl, backend=self)
            ),
        )

    def __call__(self, graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        self.num_graphs += 1

        def run(*arguments: Any) -> Any:
            self.num_calls += 1
            return graph.forward(*arguments)

        return run


def sampler(model: GPT2, step: int, world: Any) -> list[str]:
    """Prompts of several lengths, longer than the context."""
    texts = []
    for length in (1, 3, 5):
        texts += generate(
            model, [1] * length, num_samples=length, num_tokens=20, sampling=Sampling(), seed=step,
            stop=None, world=world,
        )  # fmt: skip
    return [str(text) for text in texts]


def test_a_run_with_evaluations_samples_and_a_resume_has_one_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of 7 in passes of 4: the second pass is padded, or it would be a graph of its own."""
    settings = config(batch_size=7, runtime={"compile": True, "micro_batch_size": 4})
    for stream in (raising(7 * 6, KilledError()), FakeStream()):
        torch.compiler.reset()
        graphs = Graphs(monkeypatch)
        trainer = Trainer(job(tmp_path, settings, stream=stream, sampler=sampler), ALONE)
        trainer.resume()
        first = trainer.step
        with contextlib.suppress(KilledError):
            trainer.run()
        assert trainer.step > first
        assert graphs.num_graphs == 1
        assert graphs.num_calls == LAYERS * 2 * (trainer.step - first)


def test_a_padded_pass_has_the_loss_and_gradients_of_its_rows() -> None:
    plain = Trainer(job(Path("unused"), config()), ALONE)
    padded = Trainer(job(Path("unused"), config()), ALONE)
    padded._compiled, padded._pass_rows = True, 4
    rows = np.arange(3 * 17).reshape(3, 17) % 50
    torch.testing.assert_close(padded._backward(rows), plain._backward(rows))
    for one, other in zip(plain.model.parameters(), padded.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-7)


def count_graphs(folder: Path, trainer: Trainer) -> None:
    """Give the blocks of a rank the counting backend; its numbers are written when the run is done."""
    counts = {"graphs": 0, "calls": 0}

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        counts["graphs"] += 1

        def run(*arguments: Any) -> Any:
            counts["calls"] += 1
            return graph.forward(*arguments)

        return run

    for block in trainer.model.h:
        if block._compiled_call_impl is not None:
            block._compiled_call_impl = torch.compile(block._call_impl, backend=backend)  # type: ignore[method-assign]
        else:
            forward = functools.partial(type(block).forward, block)
            block.forward = torch.compile(forward, backend=backend)  # type: ignore[method-assign]

    whole = trainer.run

    def run() -> dict[str, Any]:
        summary = whole()
        (folder / f"graphs-{trainer.world.rank}.json").write_text(json.dumps(counts))
        return summary

    trainer.run = run  # type: ignore[method-assign]


@pytest.mark.soak  # four processes import the tracer
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_ranks_have_one_graph_too(tmp_path: Path, parallel: str) -> None:
    codes = train_in_world(
        tmp_path, 2, prepare=functools.partial(count_graphs, tmp_path),
        runtime={"compile": True, "parallel": parallel},
    )  # fmt: skip
    assert codes == [0, 0]
    for rank in (0, 1):
        counts = json.loads((tmp_path / f"graphs-{rank}.json").read_text())
        assert counts == {"graphs": 1, "calls": LAYERS * STEPS}
