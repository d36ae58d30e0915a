"""What the gateway costs: the same load on the server directly, and through a gateway on the same cores."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ovembed.bench import Load, make_texts, run_load
from tests.bench import peers
from tests.bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.material import Material

ROUNDS = 3
SECONDS = 2.0
LISTS = Load(16, 32, seconds=SECONDS, warmup_s=0.3)
LISTS_BASE64 = Load(16, 32, encoding="base64", seconds=SECONDS, warmup_s=0.3)
SINGLE = Load(16, seconds=SECONDS, warmup_s=0.3)


def measure(material: Material) -> Iterator[Figure]:
    """MiniLM in full int8, 16 connections. Directly is by OVMS's route; ratios are medians of rounds in turn.

    `local` is the gateway with the engine in its own process, against the server directly.
    """
    texts = make_texts("short", 3000)
    entry = material.model("full-int8")
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(3)]
        url, _ = stack.enter_context(peers.ours(entry, folders[0]))
        ovms = ["--component", "OPEA_OVMS_EMBEDDING", "--ovms-embedding-endpoint", url, "--model", entry.name]
        in_front = stack.enter_context(peers.gateway(folders[1], *ovms))
        local = ["--component", "local", "--repository", str(entry.folder.parent), "--model", entry.name]
        alone = stack.enter_context(peers.gateway(folders[2], *local))
        for load, goal in ((LISTS, 0.85), (LISTS_BASE64, 0.85), (SINGLE, None)):
            targets = {"directly": f"{url}/v3", "through": in_front, "local": alone}
            speeds = {name: [] for name in targets}
            for _ in range(ROUNDS):
                for name, target in targets.items():
                    speeds[name].append(run_load(target, texts, load).texts_per_s)
            what = f"16 x {load.texts_per_request} {load.encoding}"
            directly = np.array(speeds["directly"])
            yield Figure(f"{what}: texts/s of the server directly", float(np.median(directly)), ",.0f")
            yield Figure(f"{what}: through the gateway / directly", _ratio(speeds["through"], directly), at_least=goal)
            yield Figure(f"{what}: gateway with its own engine / directly", _ratio(speeds["local"], directly))


def _ratio(speeds: list[float], directly: np.ndarray) -> float:
    return float(np.median(np.array(speeds) / directly))
