"""The model as trained: blocks compiled and weights copied or sharded, as configured.

DDP keeps the whole model in each process and averages gradients; FSDP2 keeps a share of every
tensor and gathers a block's weights when it runs. Both average over ranks, so the rest of the loop
is the same. Checkpoints hold tensors by name and whole shape: each mode opens the other's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from train.config import RuntimeConfig
from train.distributed import World
from train.gpt2.model import GPT2


def parallelise(model: GPT2, world: World, config: RuntimeConfig) -> nn.Module:
    """Return the callable for the loss. Weights stay those of `model`.

    Under fsdp they become shards, so create optimizers afterwards.
    """
    if config.compile:
        for block in model.h:
            block.compile()  # in place: names of weights stay, and one graph serves all blocks

    if world.size == 1:
        return model
    if config.parallel == "fsdp":
        mesh = init_device_mesh(world.device.type, (world.size,))
        for block in model.h:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        register_fsdp_forward_method(model, "next_logits")
        return model

    devices = [world.device] if world.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


def is_sharded(model: nn.Module) -> bool:
    """True if no rank has the whole model: then all must run it together."""
    return isinstance(model, FSDPModule)


def reshard(model: nn.Module) -> None:
    """Release weights gathered by a forward pass without a backward pass."""
    if isinstance(model, FSDPModule):
        model.reshard()


@contextlib.contextmanager
def exchanging(network: nn.Module, *, last: bool) -> Iterator[None]:
    """Under DDP ranks exchange gradients in the last micro-batch of a step only.

    FSDP does in each, keeping its shares small.
    """
    if last or not isinstance(network, DistributedDataParallel):
        yield
        return

    with network.no_sync():
        yield
