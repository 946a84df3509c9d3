"""The recipes of deploy/: what starts a refresh by itself, and the image and manifest of a cluster."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from corpus.config import load_config
from corpus.durations import parse_duration
from corpus.storage import lease
from tests.support import child
from tests.support.ray_head import running_head
from webtext.upkeep.refresh_config import RefreshConfig

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
        "if sys.argv[2] == 'status':\n    sys.exit(1)\n"
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
    done = start(cron_command(srv), END="1")
    assert done.returncode == 1, f"a job that failed: {done.stderr}"
    done = start(f"{cron_command(srv)} --dry-run")
    assert done.returncode == 0, done.stderr
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
    cron = yaml.safe_load((DEPLOY / "kubernetes/base/cronjob.yaml").read_text())
    schedule = ci[True]["schedule"][0]["cron"]  # YAML 1.1 reads `on` as true
    assert cron["spec"]["schedule"] == schedule
    assert f"{schedule}  {PLACE}" in (DOCS / "cluster.md").read_text()
    minute, hour, day = schedule.split()[:3]
    assert (
        unit("webtext-refresh.timer")["OnCalendar"] == f"*-*-{int(day):02} {int(hour):02}:{minute}"
    )


def closed(schema: Any) -> Any:
    """The schema with every field refused that it does not name, as `kubectl --validate=strict` does."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    if found.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    properties = found.get("properties")
    if isinstance(properties, dict) and not found.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found


@pytest.fixture(scope="module")
def ray_job(shared: Path) -> Any:
    """The validator of KubeRay 1.7's own definition of a RayJob."""
    text = (shared / "kuberay/ray.io_rayjobs.yaml").read_text()
    (version,) = [
        each
        for each in yaml.load(text, yaml.CSafeLoader)["spec"]["versions"]
        if each["name"] == "v1"
    ]
    schema = closed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    """The objects of the example overlay."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    folder = str(DEPLOY / "kubernetes/overlays/example")
    return list(yaml.safe_load_all(child.run(["kubectl", "kustomize", folder])))


def test_the_ray_job_is_what_kuberay_takes(ray_job: Any) -> None:
    job = yaml.safe_load((DEPLOY / "kubernetes/base/rayjob.yaml").read_text())
    assert [error.message for error in ray_job.iter_errors(job)] == []
    for place, value in (
        (("spec", "backoffLimits"), 1),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "replica"), 3),
        (
            (
                "spec",
                "rayClusterSpec",
                "headGroupSpec",
                "template",
                "spec",
                "containers",
                0,
                "envfrom",
            ),
            [],
        ),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("spec", "activeDeadlineSeconds"), "20d"),
    ):
        broken = json.loads(json.dumps(job))
        inner = broken
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = value
        assert not ray_job.is_valid(broken), place


def test_the_ray_job_has_what_practice_needs() -> None:
    spec = yaml.safe_load((DEPLOY / "kubernetes/base/rayjob.yaml").read_text())["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"], "min and max mean nothing without it"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["activeDeadlineSeconds"] > 86_400
    wait_s = parse_duration(spec["entrypoint"].partition("--wait ")[2])
    assert wait_s > lease.STALE_S + lease.WATCH_S, "a retry outlives the lease of the lost attempt"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"] == "webtext-nodes"
        assert pod["securityContext"]["runAsNonRoot"]
        [container] = pod["containers"]
        assert container["image"] == "IMAGE"
        assert container["envFrom"][0]["secretRef"]["optional"]
        assert container["resources"]["requests"]["ephemeral-storage"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
    for name in ("nodes", "all"):
        locked = (ROOT / f"requirements/{name}.lock").read_text()
        assert f"\nray=={cluster['rayVersion']} " in locked, name


def test_the_overlay_renders_into_what_belongs_together(rendered: list[dict[str, Any]]) -> None:
    by_kind = {(each["kind"], each["metadata"]["name"]): each for each in rendered}
    assert {each["metadata"]["namespace"] for each in rendered} == {"webtext"}
    cron = by_kind["CronJob", "webtext-refresh"]["spec"]
    pod = cron["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["timeZone"] == "Etc/UTC"
    assert cron["jobTemplate"]["spec"]["backoffLimit"] <= 3
    assert pod["serviceAccountName"] == "webtext-submit"
    [rule] = by_kind["Role", "webtext-submit"]["rules"]
    assert (rule["resources"], set(rule["verbs"])) == (["rayjobs"], {"create", "get"})
    [subject] = by_kind["RoleBinding", "webtext-submit"]["subjects"]
    assert subject["name"] == "webtext-submit"

    data = by_kind["ConfigMap", "webtext-refresh"]["data"]
    settings = tomllib.loads(data["webtext.toml"])
    assert (
        load_config(
            RefreshConfig,
            "refresh",
            environ={},
            sets=[f"refresh.{key}={value}" for key, value in settings["refresh"].items()],
        ).expect_every
        == "40d"
    ), "the overlay's settings, not the base's"
    assert "MONTH" in data["rayjob.yaml"]

    # The container's script, with a kubectl that tells what it was asked for.
    assert container["env"][0]["name"] == "WEBTEXT_IMAGE"


@pytest.mark.parametrize("there", [True, False])
def test_the_cron_job_creates_the_job_of_the_month_once(tmp_path: Path, there: bool) -> None:
    cron = yaml.safe_load((DEPLOY / "kubernetes/base/cronjob.yaml").read_text())
    [container] = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    script = container["command"][-1].replace("/etc/webtext", str(DEPLOY / "kubernetes/base"))
    tool = tmp_path / "kubectl"
    tool.write_text(
        f"#!/bin/sh\n[ $1 = get ] && exit {0 if there else 1}\ncat > {tmp_path}/created\n"
    )
    tool.chmod(0o755)
    given = {"PATH": f"{tmp_path}:/usr/bin:/bin", "WEBTEXT_IMAGE": "r.example/w:1"}
    child.run(["sh", "-ec", script], given)
    assert (tmp_path / "created").exists() is not there
    if not there:
        job = yaml.safe_load((tmp_path / "created").read_text())
        assert job["metadata"]["name"] == f"webtext-refresh-{datetime.now(UTC):%Y-%m}"
        template = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
        assert template["spec"]["containers"][0]["image"] == "r.example/w:1"


def test_the_unit_is_closed(srv: Path) -> None:
    """It only submits: 8.7 (EXPOSED) before."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    service = str(DEPLOY / "webtext-refresh.service")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", service],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:]


RAY = """#!/bin/sh
# A cluster of one job: its state is in the file `state`, each call in `calls`.
echo "$*" >> calls
case "$1 $2" in
    "job status") [ -f "state-$3" ] && echo "Status for job '$3': $(cat "state-$3")" || exit 1 ;;
    "job stop") echo STOPPED > "state-$3" ;;
    "job submit") echo RUNNING > "state-$4"; eval "$SUBMIT" ;;
    "job logs") eval "${LOGS:-:}" ;;
esac
"""


@pytest.fixture
def cluster(srv: Path) -> Path:
    (srv / ".venv/bin/ray").write_text(RAY)
    clock = srv / ".venv/bin/date"
    clock.write_text(f"#!/bin/sh\necho {TODAY.removeprefix('refresh-')}\n")
    clock.chmod(0o755)
    return srv


def calls(place: Path, verb: str) -> list[str]:
    lines = (place / "calls").read_text().splitlines() if (place / "calls").exists() else []
    return [line for line in lines if line.startswith(f"job {verb}")]


# By the cluster's own `date`: the real one may turn while a test runs.
TODAY = "refresh-2026-02-28"
ADDRESS = {
    "PATH": ".venv/bin:/usr/bin:/bin", "RAY_API_SERVER_ADDRESS": "http://x", "WEBTEXT_ATTACH_S": "0.1",
}  # fmt: skip


def test_a_stop_is_passed_on_to_the_job(cluster: Path) -> None:
    """The script ended, and six seconds later the job still ran."""
    process = subprocess.Popen(
        [str(cluster / "deploy/submit-refresh.sh")],
        env={"SUBMIT": "exec sleep 600", **ADDRESS},
        cwd=cluster,
    )
    deadline, state = time.monotonic() + 60, cluster / f"state-{TODAY}"
    while not (state.exists() and state.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    assert process.wait(60) == 143
    assert calls(cluster, "stop") == [f"job stop {TODAY}"]
    assert (cluster / f"state-{TODAY}").read_text() == "STOPPED\n"


def test_a_lost_connection_is_attached_again(cluster: Path) -> None:
    ends = f"echo SUCCEEDED > state-{TODAY}"
    done = start(f"{cluster}/deploy/submit-refresh.sh", SUBMIT="exit 1", LOGS=ends, **ADDRESS)
    assert done.returncode == 0, done.stderr
    assert len(calls(cluster, "submit")) == len(calls(cluster, "logs")) == 1
    (cluster / "calls").unlink()
    (cluster / f"state-{TODAY}").write_text("RUNNING")
    ends = f"echo FAILED > state-{TODAY}"
    done = start(f"{cluster}/deploy/submit-refresh.sh", LOGS=ends, **ADDRESS)
    assert done.returncode == 1
    assert not calls(cluster, "submit"), "a restart attaches to the job that runs"


def test_ended_jobs_of_the_day_get_a_successor(cluster: Path) -> None:
    for number, state in enumerate(("FAILED", "SUCCEEDED", "STOPPED")):
        name = TODAY if number == 0 else f"{TODAY}.{number + 1}"
        ends = f"echo {state} > state-{name}"
        done = start(f"{cluster}/deploy/submit-refresh.sh", SUBMIT=ends, **ADDRESS)
        assert done.returncode == (1 if state == "FAILED" else 0)
        assert calls(cluster, "submit")[-1].startswith(f"job submit --submission-id {name} ")


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
    """Submitted under the day's name, it runs; a second start on that day gets a name of its own; a failed job exits non-zero."""
    (srv / ".venv/bin/ray").unlink()
    (srv / ".venv/bin/ray").symlink_to(Path(sys.executable).parent / "ray")
    (srv / "dumps").mkdir()
    settings = f'[refresh]\ncorpus = "{srv / "corpus"}"\ndumps = "{srv / "dumps"}/RS_*.zst"\n'
    (srv / "webtext.toml").write_text(settings)
    with running_head(srv) as environment:
        names = ("RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
        (srv / "cluster.env").write_text("".join(f"{name}={environment[name]}\n" for name in names))
        done = start(f"{cron_command(srv)} --dry-run")
        assert done.returncode == 1, "no dump is there"
        assert "no file matches" in done.stdout + done.stderr
        assert f"refresh-{date.today()}" in done.stdout
        again = start(cron_command(srv))
        assert f"refresh-{date.today()}.2" in again.stdout
        (srv / "webtext.toml").write_text(settings.replace("dumps/RS", "gone/RS"))
        failed = start(cron_command(srv))
        assert failed.returncode == 1
        assert "the folder cannot be listed" in failed.stdout
