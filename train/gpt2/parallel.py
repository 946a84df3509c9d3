"""The model as trained: blocks compiled and weights copied or sharded, as configured.

DDP keeps the whole model in each process and averages gradients; FSDP2 keeps a share of every
tensor and gathers a block's weights when it runs. Both average over ranks, so the rest of the loop
is the same. Checkpoints hold tensors by name and whole shape: each mode opens the other's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.nn.parallel import DistributedDataParallel

from corpus.errors import ConfigError
from train.config import RuntimeConfig
from train.gpt2.model import GPT2
from train.machine.distributed import World


def parallelise(model: GPT2, world: World, config: RuntimeConfig) -> nn.Module:
    """Return the callable for the loss. Weights stay those of `model`.

    Under fsdp they become shards, so create optimizers afterwards.
    """
    sharded = world.size > 1 and config.parallel in ("fsdp", "hsdp")
    if sharded:
        _shard(model, world, config)
    if config.compile:
        _compile_blocks(model, sharded=sharded)

    if world.size == 1 or sharded:
        return model
    devices = [world.device] if world.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


def _compile_blocks(model: GPT2, *, sharded: bool) -> None:
    """Compile each block in place: names of weights stay, and one graph serves all blocks."""
    for block in model.h:
        if sharded:
            # Without the hooks that gather and free the weights, which would break the graph.
            block.forward = torch.compile(block.forward)
        else:
            block.compile()

    if not is_compiled(model):
        return

    from torch._dynamo import config as dynamo

    # With a symbolic length torch leaves attention out of the graph, in kernels of its own.
    dynamo.automatic_dynamic_shapes = False
    # DDP's optimizer for Dynamo cuts graphs at its buckets, so that gradients can be sent early.
    # A block is a graph of its own here, and small enough.
    dynamo.optimize_ddp = False


def is_compiled(model: nn.Module) -> bool:
    """True if blocks of the model run as compiled graphs."""
    blocks = getattr(model, "h", ())
    return any(b._compiled_call_impl is not None or "forward" in vars(b) for b in blocks)


@contextlib.contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Run without compiled graphs, for other shapes and modes than those of training.

    Each of them would be a graph of its own, and after eight of them Dynamo compiles no more.
    """
    # Dynamo takes a second to import, so that it is left alone if nothing is compiled.
    if not is_compiled(model):
        yield
        return

    with torch.compiler.set_stance("force_eager"):
        yield


def _shard(model: GPT2, world: World, config: RuntimeConfig) -> None:
    """Make every tensor a share of this rank."""
    # Blocks gather and multiply in the products' type, as autocast would cast them, but without a
    # float32 copy on the way. The residual stream stays float32, hence no cast of inputs.
    narrow = MixedPrecisionPolicy(
        param_dtype=None if world.dtype == torch.float32 else world.dtype,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    mesh = _mesh(world, config)
    for block in model.h:
        fully_shard(block, mesh=mesh, mp_policy=narrow)

    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "next_logits")


def _mesh(world: World, config: RuntimeConfig) -> DeviceMesh:
    """All ranks in one row, or under hsdp a row for each machine, which then has whole weights."""
    if config.parallel == "fsdp":
        return init_device_mesh(world.device.type, (world.size,))

    if world.size % world.local_size:
        raise ConfigError(
            f"train.runtime.parallel = 'hsdp': {world.size} ranks, {world.local_size} of them here; "
            "start equally many on every machine, or set it to 'fsdp'"
        )
    return init_device_mesh(
        world.device.type,
        (world.size // world.local_size, world.local_size),
        mesh_dim_names=("replicate", "shard"),
    )


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
