"""The three ways to run a server: each starts it in its folder, and tells where it runs and what it serves."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from ovembed import cores
from ovembed.http.listener import bound
from ovembed.launch import docker_run, ovms
from ovembed.launch.container import Container
from ovembed.launch.docker_run import ContainerSettings
from ovembed.launch.engines import Engine
from ovembed.launch.ovms import OvmsSettings
from ovembed.launch.process import Process
from ovembed.launch.state import Server
from ovembed.repository import config, read_serving

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ovembed.launch.engines import EngineName
    from ovembed.launch.state import Backend
    from ovembed.repository import ModelEntry

URL_FILE = "url"
LOG_FILE = "log"
_AFTER_THE_GRACE_S = 5.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  listened on -> asked at

# Settings of how a server is started; the one that is started must not follow them again.
_OF_THE_LAUNCH = {f"OVEMBED_{name}" for name in ("BACKEND", "DETACH", "WAIT", "CONTAINER_NAME", "QUIET")}


@dataclass(frozen=True, slots=True)
class Served:
    """What is to be served, and where; `subset` says that `entries` are not all that the file names.

    `port` 0 takes a free one.
    """

    entries: Sequence[ModelEntry]
    config: Path
    host: str
    port: int
    subset: bool = False
    api_key_file: Path | None = None
    cors_origins: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.entries)


class Start(Protocol):
    """Starts a server that keeps its files in `folder`, under a name. Raises InputError and ServerError."""

    def __call__(self, name: str, folder: Path) -> Server: ...


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """Our own server, `arguments` being those of `ovembed serve`. Its URL is in the file `url` once it is ready.

    `grace_s` is how long it goes on with requests once it is told to stop.
    """

    served: Served
    arguments: Sequence[str]
    grace_s: float = 30

    def __call__(self, name: str, folder: Path) -> Server:
        command = [sys.executable, "-m", "ovembed", "serve", *self.arguments, "--url-file", str(folder / URL_FILE)]
        environment = {key: value for key, value in os.environ.items() if key not in _OF_THE_LAUNCH}
        home = Process.start(command, folder / LOG_FILE, environment=environment)
        return replace(_server(name, "local", home, self.served), stop_s=self.grace_s + _AFTER_THE_GRACE_S)


@dataclass(frozen=True, slots=True)
class BinaryBackend:
    """An `ovms` of this machine; None takes the one on PATH."""

    served: Served
    binary: str | None = None

    def __call__(self, name: str, folder: Path) -> Server:
        binary = ovms.find_binary(self.binary)
        version = ovms.binary_version(binary)
        served = self.served
        ovms.check_version(version, served.entries, f"{binary} ({version.name})")
        port = _free_port(served.host, served.port)
        path = served.config.resolve()
        if served.subset:
            places = {entry.name: PurePosixPath(entry.folder.resolve()) for entry in served.entries}
            path = _write_config(folder, places, served.entries)
        settings = OvmsSettings(
            config=path,
            port=port,
            host=served.host,
            api_key_file=served.api_key_file and served.api_key_file.resolve(),
            cors_origins=served.cors_origins,
            cores=cores.find().usable,
        )
        command = [binary, *ovms.arguments(settings, version)]
        return _server(name, "ovms", Process.start(command, folder / LOG_FILE), served, port)


@dataclass(frozen=True, slots=True)
class ContainerBackend:
    """OVMS in a container; `image` None chooses the one that fits the models."""

    served: Served
    engine: EngineName = "docker"
    image: str | None = None
    gpu: bool = False
    npu: bool = False
    restart: bool = False

    def __call__(self, name: str, folder: Path) -> Server:
        served = self.served
        address = docker_run.address(served.host)
        image, version = ovms.choose_image(self.image, served.entries, accelerated=self.gpu or self.npu)
        mounts, told = self._view(folder)
        command = ovms.arguments(told, version)
        readable = [served.config, *(entry.folder for entry in served.entries)]
        readable += [served.api_key_file] if served.api_key_file else []
        user = docker_run.user_for(mounts[docker_run.MODELS], readable)
        devices = (*(docker_run.gpu() if self.gpu else ()), *(docker_run.npu() if self.npu else ()))
        engine = Engine(self.engine)
        engine.need_image(image)
        port = _free_port(address, served.port)
        settings = ContainerSettings(
            name=name,
            image=image,
            published=f"{_bracketed(address)}:{port}",
            mounts=mounts,
            user=user,
            environment=docker_run.proxies(),
            devices=devices,
            restart=self.restart,
        )
        container = Container.start(engine, docker_run.arguments(settings, command, self.engine))
        return _server(name, "docker", container, served, port)

    def _view(self, folder: Path) -> tuple[dict[PurePosixPath, Path], OvmsSettings]:
        """What the container sees of this machine, and by what paths OVMS finds it there."""
        served = self.served
        home = served.config.parent.resolve()
        places = docker_run.visible_from(home, {entry.name: entry.folder for entry in served.entries})
        mounts = {docker_run.MODELS: home}
        config = docker_run.MODELS / served.config.name
        if served.subset:
            own = _write_config(folder, places, served.entries)
            mounts[docker_run.CONFIG], config = own.parent, docker_run.CONFIG / own.name
        if served.api_key_file is not None:
            mounts[docker_run.API_KEY] = served.api_key_file.resolve()
        return mounts, OvmsSettings(
            config=config,
            port=docker_run.REST_PORT,
            api_key_file=docker_run.API_KEY if served.api_key_file else None,
            cors_origins=served.cors_origins,
            cores=os.cpu_count() or 1,
        )


def _server(name: str, backend: Backend, home: Process | Container, served: Served, port: int | None = None) -> Server:
    return Server(
        name=name,
        backend=backend,
        home=home,
        models=served.names,
        started_at=time.time(),
        url=None if port is None else f"http://{_bracketed(_EVERY_ADDRESS.get(served.host, served.host))}:{port}",
        api_key_file=str(served.api_key_file.resolve()) if served.api_key_file else None,
    )


def _write_config(folder: Path, places: Mapping[str, PurePosixPath], entries: Sequence[ModelEntry]) -> Path:
    """An OVMS configuration of these models only, in a folder of its own that anybody may look into."""
    content = config.ServingConfig({}, {})
    for name, place in places.items():
        content = content.with_graph(name, str(place))
    classic = {entry.name for entry in entries if read_serving(entry.folder).layout == "classic"}
    path = folder / "config" / "config.json"
    path.parent.mkdir(mode=0o755)
    config.write(path, content.with_classic_first(classic))
    path.chmod(0o644)
    return path


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _free_port(host: str, wanted: int) -> int:
    """That port, or any for 0. Raises ServerError when it is in use, or the address is not of this machine."""
    with bound(host, wanted) as listener:
        port: int = listener.getsockname()[1]
    return port
