"""The container that runs OVMS over a repository: what it may see, and who it is."""

from __future__ import annotations

import ipaddress
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ovembed.launch.engines import EngineName

REST_PORT = 8000
MODELS = PurePosixPath("/models")
CONFIG = PurePosixPath("/config")
API_KEY = PurePosixPath("/run/ovembed/api-key")

_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_ROOT = 0


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """`published` is "HOST:PORT" on this machine, `mounts` what it sees of its files, read-only, by where.

    `user` is "UID:GID", None the image's own. `environment` names variables that are passed on.
    """

    name: str
    image: str
    published: str
    mounts: Mapping[PurePosixPath, Path]
    user: str | None = None
    environment: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    restart: bool = False


def arguments(settings: ContainerSettings, command: Sequence[str], engine: EngineName) -> list[str]:
    """For `docker create`; `command` is for the image's entry point."""
    words = ["--name", settings.name, "--pull", "never", "--publish", f"{settings.published}:{REST_PORT}"]
    words += ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]  # noqa: S108
    for place, source in settings.mounts.items():
        words += ["--mount", f"type=bind,source={source},target={place},readonly"]
    if settings.user is not None:
        words += ["--user", settings.user]
        words += ["--userns", "keep-id"] if engine == "podman" else []
    for name in settings.environment:
        words += ["--env", name]
    words += settings.devices
    words += ["--restart", "unless-stopped"] if settings.restart else []
    return [*words, settings.image, *command]


def address(host: str) -> str:
    """Ports are published on addresses, not on names. Raises InputError for a name other than this machine's own."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError as error:
        raise InputError(
            f"A container is published on an address, and '{host}' is none. "
            "Give --host one of this machine's, or 0.0.0.0 for every one."
        ) from error


def proxies(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Names of the proxy variables that are set here, in either spelling."""
    spellings = (spelling for name in _PROXIES for spelling in (name, name.upper()))
    return tuple(name for name in spellings if environment.get(name))


def user_for(folder: Path, paths: Iterable[Path]) -> str | None:
    """Who can read these paths, all that is in them, and `folder` itself: None, everybody can; else the owner.

    Raises InputError where that is root.
    """
    for path in paths:
        for found in (folder, path, *path.rglob("*")):
            try:
                status = found.stat()
            except OSError as error:
                raise InputError(f"{found} cannot be read ({error.strerror}).") from error
            needed = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else stat.S_IROTH
            if status.st_mode & needed == needed:
                continue
            if status.st_uid == _ROOT:
                raise InputError(f"Only root may read {found}, and OVMS is not run as root. Try: chmod -R o+rX {path}")
            return f"{status.st_uid}:{status.st_gid}"
    return None


def visible_from(folder: Path, models: Mapping[str, Path]) -> dict[str, PurePosixPath]:
    """Where the container finds each model's folder, with `folder` mounted. Raises InputError for one outside."""
    places = {}
    for name, path in models.items():
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"'{name}' lies in {path}, outside of {folder}, which is all that a container gets to see. "
                "Export it there, or use --backend local or ovms."
            )
        places[name] = MODELS / path.resolve().relative_to(folder.resolve()).as_posix()
    return places


def gpu(devices: Path = Path("/dev")) -> tuple[str, ...]:
    """Arguments that give the container this machine's Intel GPU. Raises InputError where there is none."""
    if (devices / "dxg").exists():  # Windows Subsystem for Linux
        return ("--device", "/dev/dxg", "--mount", "type=bind,source=/usr/lib/wsl,target=/usr/lib/wsl,readonly")
    return ("--device", "/dev/dri", *_render_group(devices, "dri", "GPU"))


def npu(devices: Path = Path("/dev")) -> tuple[str, ...]:
    """Arguments that give the container this machine's NPU. Raises InputError where there is none."""
    return ("--device", "/dev/accel", *_render_group(devices, "accel", "NPU"))


def _render_group(devices: Path, folder: str, what: str) -> tuple[str, str]:
    """Both kinds of devices belong to the group that owns the files for rendering."""
    files = sorted([*(devices / "dri").glob("render*"), *(devices / "accel").glob("accel*")])
    if not files or not (devices / folder).is_dir():
        raise InputError(
            f"There is no {what} here: {devices / folder} is missing or empty. Leave out --{what.lower()}."
        )
    return "--group-add", str(files[0].stat().st_gid)
