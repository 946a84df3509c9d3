"""The recipes of deploy/: what starts a refresh by itself, and the image and manifest of a cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.ray_head import running_head

ROOT = Path(__file__).parents[2]
DOCS, DEPLOY = ROOT / "docs", ROOT / "deploy"
PLACE = "/srv/webtext"
"""Where the recipes have the checkout."""


@pytest.fixture
def srv(tmp_path: Path) -> Path:
    """A folder as the recipes expect it; its `ray` only tells how it was called."""
    place = tmp_path / "srv"
    (place / "deploy").mkdir(parents=True)
    shutil.copy2(DEPLOY / "submit-refresh.sh", place / "deploy")
    told = place / ".venv/bin/ray"
    told.parent.mkdir(parents=True)
    told.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "json.dump([sys.argv[1:], os.getcwd(), dict(os.environ)], open('told.json', 'w'))\nsys.exit(int(os.environ.get('END', '0')))\n"
    )
    told.chmod(0o755)
    return place


def start(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """By the shell and the little environment that cron gives."""
    given = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "SHELL": "/bin/sh", **environment}
    return subprocess.run(
        ["/bin/sh", "-c", command], env=given, cwd="/", capture_output=True, text=True, check=False
    )


def cron_command(place: Path) -> str:
    """The command of the cron line of docs/cluster.md, for `place`."""
    [line] = re.findall(
        r"^ +(\d+ \d+ \d+ \* \*  .+)$", (DOCS / "cluster.md").read_text(), re.MULTILINE
    )
    command = line.split("  ", 1)[1].replace("\\%", "%")
    assert PLACE in command
    return command.replace(PLACE, str(place))


def unit(name: str) -> dict[str, str]:
    lines = (DEPLOY / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_cron_systemd_and_ci_start_the_same_script(srv: Path) -> None:
    (srv / "cluster.env").write_text(
        "# a comment\nRAY_API_SERVER_ADDRESS=http://127.0.0.1:8265\nRAY_AUTH_MODE=token\n"
    )
    service, ci = (
        unit("webtext-refresh.service"),
        yaml.safe_load((DEPLOY / "refresh-ci.yaml").read_text()),
    )
    assert service["ExecStart"] == cron_command(Path(PLACE))
    [*_, step] = ci["jobs"]["refresh"]["steps"]
    for command, more in (
        (cron_command(srv), {}),
        (f"cd {srv} && {step['run']}", {"RAY_API_SERVER_ADDRESS": "http://x"}),
    ):
        done = start(command, **more)
        assert done.returncode == 0, done.stderr
        words, folder, environment = json.loads((srv / "told.json").read_text())
        assert folder == str(srv)
        assert words[:4] == ["job", "submit", "--submission-id", f"refresh-{date.today()}"]
        assert words[words.index("--") + 1 :] == [
            "webtext",
            "refresh",
            "--config",
            "webtext.toml",
        ]
        assert json.loads(words[words.index("--runtime-env-json") + 1])["env_vars"]
        assert environment["RAY_AUTH_MODE"] == "token"
    assert start(cron_command(srv), END="1").returncode == 1, "a job that failed"
    assert start(f"{cron_command(srv)} --dry-run").returncode == 0
    assert json.loads((srv / "told.json").read_text())[0][-1] == "--dry-run"
    (srv / "cluster.env").unlink()
    done = start(cron_command(srv))
    assert done.returncode != 0
    assert "RAY_API_SERVER_ADDRESS: not set, and no cluster.env" in done.stderr


def test_the_units_are_what_systemd_takes(srv: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for name in ("webtext-refresh.service", "webtext-refresh.timer"):
        text = (DEPLOY / name).read_text().replace(PLACE, str(srv)).replace("User=webtext\n", "")
        (srv / name).write_text(text)
    units = [str(path) for path in srv.glob("webtext-refresh.*")]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_one_day_of_the_month_for_all_of_them() -> None:
    ci = yaml.safe_load((DEPLOY / "refresh-ci.yaml").read_text())
    manifest = list(yaml.safe_load_all((DEPLOY / "kuberay-refresh.yaml").read_text()))
    schedule = ci[True]["schedule"][0]["cron"]  # YAML 1.1 reads `on` as true
    assert manifest[-1]["spec"]["schedule"] == schedule
    assert f"{schedule}  {PLACE}" in (DOCS / "cluster.md").read_text()
    minute, hour, day = schedule.split()[:3]
    assert (
        unit("webtext-refresh.timer")["OnCalendar"] == f"*-*-{int(day):02} {int(hour):02}:{minute}"
    )


def closed(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


NUMBER, TEXT, YES = {"type": "integer"}, {"type": "string"}, {"type": "boolean"}
PARAMS = {"type": "object", "additionalProperties": TEXT}
TEMPLATE = closed(
    "spec", metadata={"type": "object"}, spec={"type": "object", "required": ["containers"]}
)
GROUP = {"rayStartParams": PARAMS, "template": TEMPLATE}
RAY_JOB = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=closed("name", name=TEXT, namespace=TEXT, labels=PARAMS),
    spec=closed(
        "entrypoint rayClusterSpec",
        entrypoint=TEXT,
        runtimeEnvYAML=TEXT,
        jobId=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        shutdownAfterJobFinishes=YES,
        ttlSecondsAfterFinished=NUMBER,
        backoffLimit=NUMBER,
        activeDeadlineSeconds=NUMBER,
        suspend=YES,
        rayClusterSpec=closed(
            "headGroupSpec",
            rayVersion=TEXT,
            enableInTreeAutoscaling=YES,
            authOptions=closed("", mode={"enum": ["disabled", "token"]}, secretName=TEXT),
            headGroupSpec=closed("template", **GROUP, serviceType=TEXT, enableIngress=YES),
            workerGroupSpecs={
                "type": "array",
                "items": closed(
                    "groupName minReplicas maxReplicas template",
                    **GROUP,
                    groupName=TEXT,
                    replicas=NUMBER,
                    minReplicas=NUMBER,
                    maxReplicas=NUMBER,
                    numOfHosts=NUMBER,
                ),
            },
        ),
    ),
)
"""The fields of KubeRay's resource definition of a RayJob that a refresh may want; anything else is a slip."""


def test_the_manifest_has_fields_of_the_resource_definition_only() -> None:
    config, cron = yaml.safe_load_all((DEPLOY / "kuberay-refresh.yaml").read_text())
    job = yaml.safe_load(config["data"]["rayjob.yaml"])
    jsonschema.validate(job, RAY_JOB)
    broken = json.loads(json.dumps(job))
    broken["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 3
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(broken, RAY_JOB)
    cluster = job["spec"]["rayClusterSpec"]
    images = {
        container["image"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
        for container in group["template"]["spec"]["containers"]
    }
    assert len(images) == 1, "Ray wants one version of everything on all nodes"
    for name in ("nodes", "all"):
        locked = (ROOT / f"requirements/{name}.lock").read_text()
        assert f"\nray=={cluster['rayVersion']} " in locked, name
    [container] = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert "kubectl create" in container["command"][-1]
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    settings = tomllib.loads(config["data"]["webtext.toml"])
    assert settings["refresh"].keys() == {"corpus", "dumps"}


def test_the_image_has_the_lock_file_and_all_packages() -> None:
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    steps = [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    copied = {word for verb, rest in steps if verb == "COPY" for word in rest.split()[:-1]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {name.rstrip("*") for name in found}
    assert {f"{name}/" for name in packages} | {"requirements/", "pyproject.toml"} <= copied
    assert all((ROOT / name).exists() for name in copied)
    let_through = (ROOT / ".dockerignore").read_text()
    assert all(f"!{name.rstrip('/')}\n" in let_through for name in copied)
    assert ["ARG", f"BASE=python:{sys.version_info[0]}.11-slim-bookworm"] in steps
    assert project["project"]["requires-python"].startswith(">=3.11")
    runs = [rest for verb, rest in steps if verb == "RUN"]
    assert any(
        run.endswith("--require-hashes --requirement requirements/${SET}.lock") for run in runs
    )
    assert any("--no-deps" in run for run in runs), "nothing beside the lock file"
    assert ["USER", "ray"] in steps


@pytest.mark.soak
def test_the_cron_line_on_a_real_head(srv: Path) -> None:
    """Submitted under the day's name, it runs; a second start on that day is refused; a failed job exits non-zero."""
    (srv / ".venv/bin/ray").unlink()
    (srv / ".venv/bin/ray").symlink_to(Path(sys.executable).parent / "ray")
    (srv / "dumps").mkdir()
    settings = f'[refresh]\ncorpus = "{srv / "corpus"}"\ndumps = "{srv / "dumps"}/RS_*.zst"\n'
    (srv / "webtext.toml").write_text(settings)
    with running_head(srv) as environment:
        names = ("RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
        (srv / "cluster.env").write_text("".join(f"{name}={environment[name]}\n" for name in names))
        done = start(cron_command(srv))
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"refresh-{date.today()}" in done.stdout
        assert "up to date: 0 dumps" in done.stdout
        again = start(cron_command(srv))
        assert again.returncode != 0
        assert "already exists" in again.stdout + again.stderr
        delete = f"cd {srv} && set -a && . ./cluster.env && .venv/bin/ray job delete refresh-{date.today()}"
        assert start(delete).returncode == 0
        (srv / "webtext.toml").write_text(settings.replace("dumps/RS", "gone/RS"))
        failed = start(cron_command(srv))
        assert failed.returncode == 1
        assert "the folder cannot be listed" in failed.stdout
    assert os.path.exists(srv / "corpus" / "corpus.json")
