"""Settings and the facts of a repository, put into the templates."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ovembed import __version__
from ovembed.deploy import sizing
from ovembed.deploy.subject import IMAGE_USER
from ovembed.errors import InputError
from ovembed.launch import ovms
from ovembed.launch.ovms_flags import FLAGS
from ovembed.repository import DEFAULT_CONFIG_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Environment

    from ovembed.deploy.files import Files
    from ovembed.deploy.settings import ComposeSettings, ImageSettings, KubernetesSettings
    from ovembed.deploy.subject import Subject

_SERVER_IMAGE = {"ovms": ovms.IMAGE, "ovembed": "ovembed-server"}
_GATEWAY_IMAGE = "ovembed-gateway"

# Before, OVMS calls its metrics JSON.
_METRICS_ARE_TEXT = "2025.4"
# OVMS's Helm chart always gives this flag.
_FLAG_OF_CHART = FLAGS["sequence_cleaner_poll_wait_minutes"]


def dockerfile(settings: ImageSettings, config: str = DEFAULT_CONFIG_NAME) -> Files:
    """A build context for both images; `config` is that of the models, relative to their folder."""
    wheel = settings.wheel
    values = {
        "base": settings.base,
        "baked": settings.models is not None,
        "config": config,
        "requirement": f"/wheels/{wheel.name}" if wheel else f"ovembed=={__version__}",
        "user": f"{IMAGE_USER}:{IMAGE_USER}",
        "wheel": wheel is not None,
    }
    files: dict[str, str | Path] = {
        "Dockerfile": _render("image/Dockerfile", values),
        ".dockerignore": _render("image/dockerignore", values),
    }
    if wheel is not None:
        files[f"wheels/{wheel.name}"] = wheel
    if settings.models is not None:
        files["baked"] = settings.models
    return files


def compose(subject: Subject, settings: ComposeSettings, folder: Path) -> Files:
    """A compose project in `folder`, with the build context of its images in image/."""
    values = {
        "config": subject.config,
        "default": subject.default,
        "models": _as_seen_from(folder, subject.folder).replace("$", "$$"),
        "ovms": subject.ovms,
        "reader": subject.reader,
        "server": settings.server,
    }
    image = dockerfile(settings.image, subject.config)
    return {f"image/{name}": content for name, content in image.items()} | {
        ".env.example": _render("compose/env.example", values),
        "compose.yaml": _render("compose/compose.yaml", values),
    }


def kubernetes(subject: Subject, settings: KubernetesSettings, folder: Path) -> Files:
    """Manifests and their kustomization in `folder`. Raises InputError for settings that do not go together."""
    _check(subject, settings)
    ours = settings.server == "ovembed"
    values = {
        "arguments": _arguments(subject, settings),
        "chart_version": subject.ovms.name if _FLAG_OF_CHART.known_to(subject.ovms) else _FLAG_OF_CHART.until,
        "config": subject.config,
        "cpus": settings.cpus,
        "default": subject.default,
        "fallback_protocol": not ours and subject.ovms.older_than(_METRICS_ARE_TEXT),
        "folder": _as_seen_from(folder, subject.folder),
        "gateway": settings.gateway,
        "images": _images(subject, settings),
        "keys": settings.api_key_file is not None,
        "keys_at_server": settings.api_key_file is not None and not settings.gateway,
        "max_replicas": settings.max_replicas,
        "memory": sizing.memory_request(settings.server, subject.size_bytes),
        "memory_limit": sizing.memory_limit(settings.server, subject.size_bytes),
        "models": settings.models,
        "monitoring": settings.monitoring,
        "mounted": settings.models == "pvc" or not ours,
        "ovms": subject.ovms,
        "queue_metric": ours and settings.monitoring,
        "ready_probe": _ready_probe(("/v2/health/ready",) if ours else _ready_paths(subject)),
        "resources": _resources(settings),
        "rest_workers": sizing.rest_workers(settings.cpus),
        "server": settings.server,
        "server_image": _SERVER_IMAGE[settings.server],
        "storage": sizing.storage(subject.size_bytes),
        "user": IMAGE_USER,
    }
    names = [*_resources(settings), "kustomization.yaml"]
    if settings.models == "pvc":
        names.append("load-models.yaml")
        if not ours:
            names.append("ovms-chart-values.yaml")
    files: dict[str, str | Path] = {name: _render(f"k8s/{name}", values) for name in names}
    if settings.api_key_file is not None:
        files["api-keys"] = settings.api_key_file
    return files


def _check(subject: Subject, settings: KubernetesSettings) -> None:
    keys = FLAGS["api_key_file"]
    asked_by_ovms = settings.api_key_file is not None and not settings.gateway and settings.server == "ovms"
    if asked_by_ovms and not keys.known_to(subject.ovms):
        raise InputError(f"OVMS {subject.ovms.name} asks for no keys; {keys.since} does. Export for a newer one.")


def _resources(settings: KubernetesSettings) -> list[str]:
    wanted = {
        "models.yaml": settings.models == "pvc",
        "server.yaml": True,
        "gateway.yaml": settings.gateway,
        "scaling.yaml": True,
        "network.yaml": True,
        "monitoring.yaml": settings.monitoring,
    }
    return [name for name, is_wanted in wanted.items() if is_wanted]


def _images(subject: Subject, settings: KubernetesSettings) -> dict[str, str]:
    """Tag of each image that the manifests name."""
    images = {_SERVER_IMAGE["ovms"]: subject.ovms.name} if settings.server == "ovms" else {}
    if settings.server == "ovembed" or settings.models == "image":
        images[_SERVER_IMAGE["ovembed"]] = __version__
    if settings.gateway:
        images[_GATEWAY_IMAGE] = __version__
    return images


def _arguments(subject: Subject, settings: KubernetesSettings) -> list[str]:
    arguments = ["--config_path", f"/models/{subject.config}", "--rest_port", "8000"]
    if settings.server == "ovms":
        arguments += ["--rest_workers", str(sizing.rest_workers(settings.cpus))]
        if settings.monitoring:
            arguments.append("--metrics_enable")
    if settings.api_key_file is not None and not settings.gateway:
        arguments += ["--api_key_file", "/etc/embedding/api-keys"]
    return arguments


def _ready_paths(subject: Subject) -> tuple[str, ...]:
    return tuple(f"/v2/models/{quote(name, safe='')}/ready" for name in subject.servables)


def _ready_probe(paths: tuple[str, ...]) -> str:
    """What a probe does, as YAML: one path is asked by the kubelet, several by curl inside the container."""
    if len(paths) == 1:
        return f"httpGet: {{path: {_quoted(paths[0])}, port: rest}}"
    urls = [f"http://localhost:8000{path}" for path in paths]
    command = ["curl", "--fail", "--fail-early", "--silent", "--show-error", "--noproxy", "*", "--max-time", "5", *urls]
    return f"exec: {{command: {_quoted(command)}}}"


def _as_seen_from(folder: Path, target: Path) -> str:
    """A relative path that Compose takes for one, and not for the name of a volume."""
    path = os.path.relpath(target.resolve(), folder.resolve())
    return path if path.startswith(".") else f"./{path}"


def _health_check(port: int, path: str) -> str:
    """Dockerfile's CMD for a GET, by what the image has: Python. No proxy comes in between."""
    script = (
        "import http.client, sys; "
        f"server = http.client.HTTPConnection('127.0.0.1', {port}, timeout=5); "
        f"server.request('GET', '{path}'); "
        "sys.exit(server.getresponse().status != 200)"
    )
    return _quoted(["python3", "-c", script])


def _quoted(value: Any) -> str:
    """JSON: in YAML and in a Dockerfile's CMD, a scalar or list that nothing in it can break."""
    return json.dumps(value, ensure_ascii=False)


def _render(name: str, values: dict[str, Any]) -> str:
    return _templates().get_template(name).render(values)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  only here

    environment = Environment(
        loader=PackageLoader("ovembed.deploy"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  no HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quoted"] = _quoted
    environment.globals |= {"version": __version__, "probe": _health_check}
    return environment
