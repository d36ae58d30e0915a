"""Runs the program as a user does: a process of its own, its output captured."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def ovembed(
    *arguments: str, stdin: bytes = b"", cwd: Path | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "ovembed", *arguments], input=stdin, cwd=cwd, capture_output=True, timeout=timeout
    )


def failure(done: subprocess.CompletedProcess[bytes], code: int = 1) -> str:
    """The one line that a failed command leaves on stderr."""
    assert done.returncode == code, done
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("ovembed: ")
    return lines[0]
