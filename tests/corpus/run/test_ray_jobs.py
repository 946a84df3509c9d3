"""`ray job submit --working-dir . -- python -m crawl.run ...` against a real head node on loopback.

The head has token authentication, as docs/cluster.md asks for. Jobs are submitted by the SDK in one process of its own,
which reads the token from its environment (the command line waits ten seconds for its log to close); one goes through
the command line as users write it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from corpus.run.executors.interface import CANCEL_GRACE_S
from corpus.storage.store import open_store
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import read_table
from examples.demo.dump import compressed, submission
from examples.demo.server import Answer, DemoServer, address
from tests.support.ray_head import running_head

REPOSITORY = Path(__file__).parents[3]
NUM_PAGES = 24

CLIENT = """
import json, sys, time
from ray.job_submission import JobSubmissionClient
client = JobSubmissionClient()
def submit(job):
    env = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "20"}, "working_dir": job["working_dir"]}
    deadline = time.monotonic() + 60
    while True:
        try:
            return client.submit_job(entrypoint=job["entrypoint"], runtime_env=env)
        except RuntimeError as error:  # a head that has just started, on a busy machine
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
for line in sys.stdin:
    action, job = json.loads(line)
    if action == "submit":
        answer = submit(job)
    else:
        if action == "stop":
            client.stop_job(job["id"])
        deadline = time.monotonic() + 300
        while not (info := client.get_job_info(job["id"])).status.is_terminal():
            assert time.monotonic() < deadline, info
            time.sleep(0.1)
        logs = client.get_job_logs(job["id"])
        answer = {"status": info.status, "code": info.driver_exit_code, "logs": logs}
    print(json.dumps(answer), flush=True)
"""


@dataclass(frozen=True)
class Head:
    """A running head node, and a client of it that answers a line with a line."""

    environment: dict[str, str]
    client: subprocess.Popen[str]

    def ask(self, action: str, **job: Any) -> Any:
        assert self.client.stdin is not None
        assert self.client.stdout is not None
        self.client.stdin.write(json.dumps([action, job]) + "\n")
        self.client.stdin.flush()
        return json.loads(self.client.stdout.readline())

    def submit(self, entrypoint: str) -> str:
        return str(self.ask("submit", entrypoint=entrypoint, working_dir=str(REPOSITORY)))

    def wait(self, job: str) -> dict[str, Any]:
        return dict(self.ask("wait", id=job))


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    command = [sys.executable, "-c", CLIENT]
    with (
        running_head(tmp_path_factory.mktemp("r")) as environment,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client,
    ):
        yield Head(environment, client)


def page(number: int) -> Answer:
    text = " ".join(
        f"Sentence {index} of page {number} says something plain about its subject."
        for index in range(60)
    )
    return Answer(f"<html><title>Page {number}</title><body><p>{text}</p></body></html>".encode())


@pytest.fixture(scope="module")
def server() -> Iterator[DemoServer]:
    answers = {address("slow.test", f"/p{number}"): page(number) for number in range(NUM_PAGES)}
    answers[address("slow.test", "/robots.txt")] = Answer(b"", content_type="text/plain")
    with DemoServer(answers) as running:
        yield running


@pytest.fixture
def crawl(tmp_path: Path, server: DemoServer) -> str:
    """The line that a user submits: a crawl of one host that takes some seconds, because it is polite."""
    rows = [
        submission(
            url=f"http://slow.test/p{n}", title=f"p{n}", score=9, subreddit="Python", author="a"
        )
        | {"id": f"a{n}", "created_utc": 1512086400 + n}
        for n in range(NUM_PAGES)
    ]
    dump = tmp_path / "RS_2017-12.zst"
    dump.write_bytes(compressed(rows))
    settings = [
        "crawl.links.num_parts=2",
        "crawl.fetch.shards=1",
        "crawl.fetch.delay_s=0.8",
        "crawl.fetch.latency_factor=0",
        'crawl.fetch.allow_networks=["127.0.0.0/8"]',
        f'crawl.fetch.connect_to={{"*.test"="127.0.0.1:{server.port}"}}',
        "crawl.links.allow_immature_scores=true",
    ]
    sets = " ".join(f"--set '{setting}'" for setting in settings)
    return f"python -m crawl.run --corpus {tmp_path / 'corpus'} --batch b --dumps {dump} {sets}"


def asked(server: DemoServer) -> list[str]:
    """The pages that were asked for so far, in order."""
    return [request.target for request in server.log if request.target.startswith("/p")]


def wait_until_asked(server: DemoServer, num_pages: int) -> None:
    deadline = time.monotonic() + 300
    while len(asked(server)) < num_pages:
        assert time.monotonic() < deadline, (
            f"{len(asked(server))} pages fetched, expected {num_pages}"
        )
        time.sleep(0.05)


def test_a_failing_job_exits_non_zero_and_says_why(head: Head, tmp_path: Path) -> None:
    ended = head.wait(
        head.submit(
            f"python -m crawl.run --corpus {tmp_path / 'c'} --batch b --dumps {tmp_path / 'missing.zst'} --only links"
        )
    )
    assert (ended["status"], ended["code"]) == ("FAILED", 2)
    assert "missing.zst: cannot be read" in ended["logs"]


@pytest.mark.soak
@pytest.mark.timeout(480)
def test_stopped_then_killed_then_the_line_that_users_write_goes_on_to_the_end(
    head: Head, crawl: str, tmp_path: Path, server: DemoServer
) -> None:
    corpus = tmp_path / "corpus"
    job = head.submit(crawl)
    wait_until_asked(server, 4)
    stopped = time.monotonic()
    ended = head.ask("stop", id=job)
    stop_s = time.monotonic() - stopped
    assert stop_s < 60
    assert ended["status"] == "STOPPED"
    assert "To continue: python -m crawl.run" in ended["logs"]
    assert find_manifest(open_store(str(corpus)), "pages", "b") is None

    job = head.submit(crawl)
    wait_until_asked(server, len(asked(server)) + 3)
    owner = json.loads((corpus / "work" / "b" / "lock.json").read_text())
    os.kill(owner["pid"], 9)
    assert head.wait(job)["status"] == "FAILED"
    assert len(set(asked(server))) < NUM_PAGES
    if (
        stop_s < CANCEL_GRACE_S
    ):  # else the machine was so busy that the fetch was ended by force, and its open segment lost
        assert len(asked(server)) - len(set(asked(server))) <= 3, (
            "what a stopped job had is not fetched again"
        )

    line = f"{Path(sys.executable).parent / 'ray'} job submit --working-dir . -- {crawl}"
    done = subprocess.run(
        line,
        shell=True,
        cwd=REPOSITORY,
        env=head.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"links +{NUM_PAGES} rows", done.stdout), "the log shows the funnel"
    pages = read_table(open_store(str(corpus)), "pages", "b")
    assert pages.num_rows == NUM_PAGES
    assert pages["reason"].null_count == NUM_PAGES
    assert len(set(pages["doc_id"].to_pylist())) == NUM_PAGES
