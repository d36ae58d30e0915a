"""What a person decides about a deployment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Server = Literal["ovms", "ovembed"]
ModelSource = Literal["pvc", "image"]

DEFAULT_BASE = "python:3.12-slim"


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """base: an image with Python and its venv module. wheel: this instead of the release on PyPI.
    models: a repository to bake into the server's image; None leaves /models to be mounted.
    """

    base: str = DEFAULT_BASE
    wheel: Path | None = None
    models: Path | None = None


@dataclass(frozen=True, slots=True)
class ComposeSettings:
    server: Server = "ovms"
    image: ImageSettings = field(default_factory=ImageSettings)


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """gateway: put the OPEA gateway before the server. models: on a claimed volume, or inside an image.

    cpus: that a server's pod asks for, and the threads it computes with. monitoring: there is the Prometheus
    operator, and its adapter. api_key_file: keys that clients must show, put into a Secret.
    """

    server: Server = "ovms"
    gateway: bool = True
    models: ModelSource = "pvc"
    cpus: int = 2
    max_replicas: int = 4
    monitoring: bool = False
    api_key_file: Path | None = None
