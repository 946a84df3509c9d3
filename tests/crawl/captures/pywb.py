"""A pywb that serves a made archive. It is started from an environment of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from tests.support import child

START_S = 60.0


def tool(name: str) -> str | None:
    """A program of pywb."""
    folder = os.environ.get("WEBTEXT_PYWB")
    return shutil.which(name, path=f"{folder}/bin" if folder else None)


class Pywb:
    """A pywb that serves the collection `made` below a folder."""

    def __init__(self, path: Path | None, folder: Path, *options: str) -> None:
        """Add the file at `path` to a new collection; without one the folder has it already."""
        manager = str(tool("wb-manager"))
        log = (folder / "log").open("w")
        adding = [["init", "made"], ["add", "made", str(path), *options]]
        for command in [] if path is None else adding:
            child.run([manager, *command], cwd=folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.root = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [str(tool("wayback")), "-p", str(port), "-b", "127.0.0.1"],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(f"{self.root}/made/cdx?url=http://nowhere.test/")
                return
            except OSError:
                assert time.monotonic() < deadline
                assert self.process.poll() is None
                time.sleep(0.1)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
