"""`serve` beyond this process: its options, which of them fit together, and what is said meanwhile."""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from ovembed.cli import url_file as urls
from ovembed.cli.options import is_given, option
from ovembed.cli.output import Talk
from ovembed.errors import InputError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import typer

    from ovembed.launch.backends import Served, Start
    from ovembed.launch.engines import EngineName
    from ovembed.launch.state import Backend, Server, Servers

_GROUP = "Where it runs"
_CONTAINER_NAME = "ovms-embedding-serving"

BackendOpt = Annotated[
    Literal["local", "docker", "ovms"],
    option("--backend", help="Our server, OVMS in a container, or an OVMS of this machine.", rich_help_panel=_GROUP),
]
DetachOpt = Annotated[bool, option("--detach", help="Return when it is ready, and let it run.", rich_help_panel=_GROUP)]
WaitOpt = Annotated[
    float,
    option("--wait", min=0, help="Seconds that --detach waits for it to be ready.", rich_help_panel=_GROUP),
]
NameOpt = Annotated[
    str | None,
    option(
        "--container-name",
        "--name",
        help="Name for status, stop and logs.",
        show_default=f"{_CONTAINER_NAME}, else backend and port",
        rich_help_panel=_GROUP,
    ),
]
ImageOpt = Annotated[
    str | None,
    option(
        "--image",
        help="Image of OVMS.",
        show_default="openvino/model_server of the version that fits the models",
        rich_help_panel=_GROUP,
    ),
]
EngineOpt = Annotated[
    Literal["docker", "podman"], option("--engine", help="What runs the container.", rich_help_panel=_GROUP)
]
GpuOpt = Annotated[bool, option("--gpu", help="Give the container this machine's GPU.", rich_help_panel=_GROUP)]
NpuOpt = Annotated[bool, option("--npu", help="Give the container this machine's NPU.", rich_help_panel=_GROUP)]
BinaryOpt = Annotated[
    str | None,
    option("--ovms-binary", help="Program of OVMS.", show_default="ovms on PATH", rich_help_panel=_GROUP),
]

# Who an option concerns: one backend; the launch itself; every server. The others are for our own server.
_OF_BACKEND: Mapping[str, Backend] = {
    **dict.fromkeys(("image", "engine", "gpu", "npu"), "docker"),
    "ovms_binary": "ovms",
}
_OF_LAUNCH = {"backend", "detach", "wait", "container_name", "url_file", "quiet"}
_OF_ALL = {*_OF_LAUNCH, "repository", "config", "model", "host", "port", "api_key_file", "cors_origin"}


@dataclass(frozen=True, slots=True)
class Choices:
    """What those options say."""

    backend: Backend
    detach: bool
    wait_s: float
    name: str | None
    image: str | None
    engine: EngineName
    gpu: bool
    npu: bool
    ovms_binary: str | None

    @property
    def in_this_process(self) -> bool:
        return self.backend == "local" and not self.detach


def check_options(context: typer.Context, choices: Choices) -> None:
    """Raises InputError for an option that means nothing to the backend, with the one that it fits."""
    for name, words in _given(context):
        owner = _OF_BACKEND.get(name)
        if owner not in (None, choices.backend):
            raise InputError(f"{words[0]} is for --backend {owner}, not for {choices.backend}.")
        if name == "wait" and not choices.detach:
            raise InputError(f"{words[0]} is for --detach.")
        if name == "container_name" and choices.in_this_process:
            raise InputError(f"{words[0]} is for --detach, or for another --backend.")
        if choices.backend != "local" and owner is None and name not in _OF_ALL:
            raise InputError(
                f"{words[0]} is for our own server: --backend local. OVMS is told how to work when a model is exported."
            )


def serve_elsewhere(
    context: typer.Context, choices: Choices, served: Served, talk: Talk, *, url_file: Path | None
) -> None:
    """Start the server that the options ask for; return when it is ready (--detach), else when it has ended."""
    from ovembed.launch.state import Servers

    servers = Servers()
    if url_file is not None:
        urls.forget(url_file)
    backend = _backend(context, choices, served)
    name = choices.name or _default_name(choices, served)
    if choices.detach:
        server = _start(backend, name, servers, talk, wait_s=choices.wait_s)
        _announce(talk, server, url_file)
        talk.say(f"Look at it with 'ovembed status' and 'ovembed logs {name}', end it with 'ovembed stop {name}'.")
    else:
        _run(backend, name, servers, talk, url_file)


def _backend(context: typer.Context, choices: Choices, served: Served) -> Start:
    from ovembed.launch.backends import BinaryBackend, ContainerBackend, LocalBackend

    match choices.backend:
        case "docker":
            return ContainerBackend(
                served, choices.engine, choices.image, gpu=choices.gpu, npu=choices.npu, restart=choices.detach
            )
        case "ovms":
            return BinaryBackend(served, choices.ovms_binary)
        case "local":
            words = [word for name, given in _given(context) if name not in _OF_LAUNCH for word in given]
            return LocalBackend(served, words, context.params["grace"])


def _default_name(choices: Choices, served: Served) -> str:
    return _CONTAINER_NAME if choices.backend == "docker" else f"{choices.backend}-{served.port}"


def _start(
    backend: Start,
    name: str,
    servers: Servers,
    talk: Talk,
    *,
    wait_s: float | None = None,
    on_started: Callable[[Server], None] | None = None,
) -> Server:
    """With a spinner that tells what is waited for; it gives way to `on_started`, which may show more."""
    from rich.text import Text

    from ovembed.launch.start import start_server

    with talk.console.status(f"Starting {name} …") as status:

        def started(server: Server) -> None:
            if on_started is not None:
                status.stop()
                on_started(server)

        def wait(problem: str) -> None:
            if on_started is None:
                status.update(Text(f"Waiting for {name}: {problem}"))

        return start_server(backend, name, servers, wait_s=wait_s, on_started=started, on_wait=wait)


def _run(backend: Start, name: str, servers: Servers, talk: Talk, url_file: Path | None) -> None:
    """Its output as it comes, until it ends or we are told to stop; then nothing of it is left."""
    followers: list[threading.Thread] = []

    def follow(server: Server) -> None:
        followers.append(threading.Thread(target=server.home.follow, args=(sys.stderr.buffer,), daemon=True))
        followers[0].start()

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = None
    try:
        server = _start(backend, name, servers, talk, on_started=follow)
        _announce(talk, server, url_file, "Stop with Ctrl-C.")
        followers[0].join()
    except KeyboardInterrupt:
        if server is None:
            raise
        server.stop()
        servers.forget(name)
        talk.say("Stopped.")
        return
    server.stop()
    servers.forget(name)
    raise ServerError(f"The server '{name}' has ended.")


def _announce(talk: Talk, server: Server, url_file: Path | None, *more: str) -> None:
    what = " ".join([f"'{server.name}' serves {', '.join(server.models)} on {server.url}.", *more])
    talk.say(what, "bold")
    if url_file is not None and server.url is not None:
        urls.write(url_file, server.url)


def _given(context: typer.Context) -> Iterator[tuple[str, list[str]]]:
    """The options on the command line by name, and the words that say the same."""
    for parameter in context.command.params:
        if parameter.name is None or not is_given(context, parameter.name):
            continue
        value = context.params[parameter.name]
        flag = next(word for word in parameter.opts if word.startswith("--"))
        if isinstance(value, bool):
            off = next(iter(parameter.secondary_opts), None)
            yield parameter.name, [flag] if value or off is None else [off]
        else:
            values = value if isinstance(value, list | tuple) else [value]
            yield parameter.name, [word for item in values for word in (flag, str(item))]
