"""How long whole processes take: what a person at a prompt, or a readiness probe, waits for."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.material import Material

RUNS = 7
PROGRAM = Path(sys.executable).with_name("ovembed")


def measure(material: Material) -> Iterator[Figure]:
    """Seconds from start to exit: medians of RUNS, the commands in turn, after one run of each that fills caches."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "ovembed --help": [str(PROGRAM), "--help"],
        "ovembed embed --text hello": [
            *(str(PROGRAM), "embed", "--text", "hello"),
            *("--model", str(material.model("int8").folder)),
        ],
    }
    goals = {"ovembed --help": 0.2, "ovembed embed --text hello": 1.0}
    with tempfile.TemporaryDirectory() as caches:
        environment = os.environ | {"XDG_CACHE_HOME": caches}
        first = {name: _seconds(command, environment) for name, command in commands.items()}
        rounds = [{name: _seconds(command, environment) for name, command in commands.items()} for _ in range(RUNS)]
    for name in commands:
        median = statistics.median(seconds[name] for seconds in rounds)
        yield Figure(name, median, unit="s", at_most=goals.get(name))
    name = "ovembed embed --text hello"
    yield Figure(f"{name}, compiled models not kept yet", first[name], unit="s")


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
