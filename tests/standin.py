"""An image to stand in for openvino/model_server: our server behind OVMS's command line, run as OVMS's image is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engine import BASE_IMAGE

if TYPE_CHECKING:
    from tests.engine import DockerEngine

ROOT = Path(__file__).parents[1]
IMAGE = f"ovembed-test-standin-{os.getpid()}:2026.3"  # two runs may share an engine
USER = 5000

_DOCKERFILE = f"""
FROM {BASE_IMAGE}
RUN useradd --uid {USER} --no-create-home ovms
COPY packages /opt/ovembed
COPY ovms /ovms/bin/ovms
ENV PYTHONPATH=/opt/ovembed
USER ovms
ENTRYPOINT ["/ovms/bin/ovms"]
"""
_PROGRAM = """#!/bin/sh
exec python -c 'from ovembed.cli.ovms import main; main()' "$@"
"""


def build_standin(engine: DockerEngine, place: Path) -> str:
    """From the wheel and what it asks for, installed for the Python of the image. Its tag."""
    context = place / "context"
    context.mkdir()
    _run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(ROOT))
    [wheel] = place.glob("*.whl")
    version = engine("run", "--rm", BASE_IMAGE, "python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    _run(
        *("-m", "pip", "install", "--quiet", "--no-compile", "--target", str(context / "packages")),
        *("--python-version", version.stdout.strip(), "--implementation", "cp", "--only-binary", ":all:"),
        *("--constraint", str(ROOT / ".ci" / "constraints.txt"), str(wheel)),
    )
    (context / "Dockerfile").write_text(_DOCKERFILE)
    (context / "ovms").write_text(_PROGRAM)
    (context / "ovms").chmod(0o755)
    engine.build(context, IMAGE)
    return IMAGE


def _run(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
