"""Measure the parts that are named, or all of them, and print each figure beside its goal."""

from __future__ import annotations

import argparse
import importlib
import tempfile

from ovembed import ModelRepository
from tests.bench.material import Material

PARTS = ("quality", "inprocess", "offline", "online", "gateway", "soak", "startup", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; without any: all")
    parser.add_argument("--repository", help="keeps the exported models for the next run; else they are temporary")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as temporary:
        material = Material(ModelRepository(arguments.repository or temporary))
        for part in arguments.parts or PARTS:
            print(part, flush=True)
            for figure in importlib.import_module(f"tests.bench.{part}").measure(material):
                print(figure, flush=True)


if __name__ == "__main__":
    main()
