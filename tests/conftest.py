"""What every test may use: the folder of real material where it is present, and a real S3 protocol server."""

from __future__ import annotations

import dataclasses
import gc
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from corpus.storage import conditional_write
from tests.corpus.storage import s3_server
from tests.support import faulty_network, grown_corpus
from webtext.cli import GARBAGE_EVERY

# Two test processes share two cores: OpenMP threads that wait by spinning would take the other's time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Images often forbid Python to keep its bytecode. Three collecting processes, and some hundred that
# tests start, would each compile all modules that they import: a tenth of the suite's time.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The suite says the same about a commit each time; `make explore` looks where it has not looked.
# No deadline: the first call of a compiled loop compiles it. A busy machine is slow, which says
# nothing about a strategy.
PATIENT: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("suite", derandomize=True, **PATIENT)
settings.register_profile("explore", print_blob=True, **PATIENT)
settings.load_profile(os.environ.get("WEBTEXT_EXAMPLES", "suite"))
if settings.get_current_profile_name() == "suite":
    # Hypothesis draws some values from the constants of all modules that are loaded by then. Tests
    # import modules when they run, so the examples of a test depended on the tests before it.
    providers._get_local_constants = lambda: providers._local_constants

LONG = (
    "test_pipeline.py", "test_refresh.py", "test_runner.py", "test_processes.py", "test_hand_over.py", "test_forget.py",
    "test_ray_jobs.py", "test_generations.py", "test_vocabulary.py", "test_split_rules.py", "test_check.py",
    "test_look_browser.py", "test_fetch.py", "test_staleness.py", "test_crawl_rights.py", "test_executor.py",
    "test_length.py", "test_corpus_settings.py", "test_rebuild.py", "test_sandbox.py", "test_guarantees.py",
    "test_stragglers.py", "test_fleet.py", "test_wheel.py", "test_loop.py",
)  # fmt: skip
"""The modules that take longest, begun first: the short ones fill what is left."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Spare what is collected from the garbage collector.

    Modules and nine thousand tests live to the end. Walking them again and again took half of the
    time to collect (7 of 14 s), and a quarter of that of tests that make many objects. Afterwards
    it runs as seldom as in a command.
    """
    gc.disable()
    gc.set_threshold(GARBAGE_EVERY)
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long modules first, everything else in the order it was found."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their argument: those of a gzip file hold the second it was made in, and
    workers that collect tests of other names stop the suite."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pages, prose, test sets and hostile inputs, or a skip that says where to put it."""
    root = Path(os.environ.get("WEBTEXT_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not root.is_dir():
        pytest.skip(f"real test material is absent: no folder {root} (set WEBTEXT_SHARED)")
    return root


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on loopback that speaks S3; the environment points the clients of this and of child processes to it."""
    with s3_server.running() as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        # Files that were read from buckets are kept there.
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield endpoint


@pytest.fixture
def s3_bucket(s3_endpoint: str) -> str:
    """The URI of a fresh bucket."""
    import boto3

    name = f"b-{secrets.token_hex(6)}"
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def fates(tmp_path_factory: pytest.TempPathFactory) -> grown_corpus.Fates:
    """Two batches, a page of every fate. Not to be changed."""
    return grown_corpus.grow_fates(tmp_path_factory.mktemp("fates"))


@pytest.fixture
def fates_copy(fates: grown_corpus.Fates, tmp_path: Path) -> grown_corpus.Fates:
    """The same, to be changed."""
    shutil.copytree(fates.root, tmp_path / "corpus")
    return dataclasses.replace(fates, root=str(tmp_path / "corpus"))


@pytest.fixture
def network(
    s3_bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[faulty_network.Network]:
    """The store of `s3_bucket`, reached through a network that does as it is told."""
    with faulty_network.between(s3_endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        conditional_write.open_conditional.cache_clear()
        yield between
