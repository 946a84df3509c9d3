"""The wheel holds the packages and nothing else, and works for strangers in a clean environment."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"webtext", "corpus", "crawl", "clean", "dedup", "shards", "train"}
STRANGER = """
from shards.reader import BlockStream, TokenSplit, open_split

split: TokenSplit = open_split("corpus", "snapshot", "train")
stream = BlockStream(split, block_size=1024, seed=1)
reveal_type(stream.next_batch(8, rank=0, world_size=1))
reveal_type(open_split)
reveal_type(split.num_tokens)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist and a wheel, built from a copy: no build folder is left here."""
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "copy" / name).write_bytes((ROOT / name).read_bytes())

    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist")]
    done = subprocess.run([*command, str(folder / "copy")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [found] = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with the wheel; the libraries are those of the tests."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "libraries.pth").write_text("\n".join([*libraries, *site.getsitepackages()]))
    return folder / "bin/python"


def run(python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run in a folder without our sources, in an environment without PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(python), *words],
        cwd=python.parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_holds_the_packages_and_their_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    for package in sorted(PACKAGES):
        ours = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / package).rglob("*")
            if path.is_file()
            and "__pycache__" not in path.parts
            and path.suffix not in (".nbi", ".nbc")
        }
        assert ours - set(names) == set(), "modules and data"


def test_an_index_would_take_both_archives(built: Path, wheel: Path) -> None:
    archives = sorted(str(path) for path in built.iterdir())
    assert len(archives) == 2
    twine = [sys.executable, "-m", "twine", "check", "--strict", *archives]
    done = subprocess.run(twine, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    # W002: a licence beside its data as well. W009: seven top-level packages are the layout.
    check = [sys.executable, "-m", "check_wheel_contents", "--ignore", "W002,W009"]
    contents = [*check, str(wheel)]
    done = subprocess.run(contents, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_runs_from_the_wheel(python: Path) -> None:
    assert run(python, "-m", "webtext", "--version").stdout.startswith("webtext ")
    done = run(python, "-c", "import webtext, shards.reader; print(webtext.__file__)")
    assert done.returncode == 0, done.stderr
    assert str(python.parents[1]) in done.stdout, "the installed one, not the checkout"
    times = []
    for _ in range(3):
        started = time.perf_counter()
        done = run(python, "-m", "webtext", "--help")
        times.append(time.perf_counter() - started)
    assert "webtext COMMAND" in done.stdout
    assert min(times) < 0.5


def test_the_demo_names_the_repository(python: Path) -> None:
    done = run(python, "-m", "webtext", "demo")
    assert done.returncode == 2
    assert "part of the repository" in done.stderr


def test_strangers_get_types(python: Path) -> None:
    (python.parents[1] / "app.py").write_text(STRANGER)
    done = run(python, "-m", "mypy", "--strict", "--cache-dir", "cache", "app.py")
    notes = [line for line in done.stdout.splitlines() if "Revealed type" in line]
    assert "error" not in done.stdout, done.stdout
    assert len(notes) == 3, done.stdout + done.stderr
    assert not any('"Any"' in note or "-> Any" in note for note in notes), notes
