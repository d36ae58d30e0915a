"""The Docker engine that .ci/docker starts, for tests that build and run images for real."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BASE_IMAGE = "ovembed-test-base"
PATIENCE_S = 300


@dataclass(frozen=True)
class DockerEngine:
    """A running engine that has the base image: a minimal Debian with `python`, `pip` and venv."""

    program: str

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker ARGUMENTS`, its output captured; a failure shows what the engine said."""
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done

    def build(self, context: Path, tag: str, *arguments: str) -> None:
        self("build", "--pull=false", "--tag", tag, *arguments, str(context))


def find_engine() -> DockerEngine | str:
    """The engine, or why there is none."""
    program = shutil.which("docker")
    if program is None:
        return "there is no docker here"
    done = subprocess.run([program, "image", "inspect", BASE_IMAGE], capture_output=True, text=True)
    if done.returncode == 0:
        return DockerEngine(program)
    return f"no engine with the image {BASE_IMAGE} (.ci/docker makes both): {done.stderr.strip()}"
