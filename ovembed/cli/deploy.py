from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ovembed import __version__
from ovembed.cli.options import ConfigOpt, JsonOpt, QuietOpt, RepositoryOpt, option
from ovembed.cli.output import Talk, print_json, stdout_console

if TYPE_CHECKING:
    from ovembed.deploy import Files, ImageSettings, Subject

app = typer.Typer(help="Write Dockerfile, compose or Kubernetes files.", no_args_is_help=True, rich_markup_mode=None)
_DEFAULT_REPOSITORY = Path("models")
_IMAGES = ("server", "gateway")

FolderArg = Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write into; made where it is missing.")]
ModelOpt = Annotated[
    str | None,
    option("--model", "-m", help="Model that answers when none is asked for.", show_default="the only one"),
]
ServerOpt = Annotated[
    Literal["ovms", "ovembed"],
    option("--server", help="OVMS's own image, of the release the models are laid out for; or ovembed's server."),
]
BaseOpt = Annotated[
    str,
    option("--base-image", help="Image with Python 3.11 or newer, pip and venv.", show_default="python:3.12-slim"),
]
WheelOpt = Annotated[
    Path | None,
    option("--wheel", help="Build with this wheel of ovembed.", show_default="the release on PyPI"),
]
ForceOpt = Annotated[bool, option("--force", help="Replace files that exist.")]


@app.command("dockerfile")
def dockerfile(
    folder: FolderArg,
    base_image: BaseOpt = "",
    wheel: WheelOpt = None,
    bake: Annotated[bool, option("--bake", help="Put a copy of the repository's models into the image.")] = False,
    repository: RepositoryOpt = _DEFAULT_REPOSITORY,
    config: ConfigOpt = None,
    force: ForceOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """A Dockerfile of two images: the server, and the OPEA gateway."""
    from ovembed import deploy
    from ovembed.repository import ModelRepository

    if bake:
        models = ModelRepository(repository, config)
        files = deploy.dockerfile(_image(base_image, wheel, models.folder), deploy.movable_config(models))
    else:
        files = deploy.dockerfile(_image(base_image, wheel))
    _write(files, folder, force=force, as_json=as_json)
    _say_next(
        quiet,
        *(f"docker build --target {image} --tag ovembed-{image}:{__version__} {_word(folder)}" for image in _IMAGES),
    )


@app.command("compose")
def compose(
    folder: FolderArg,
    repository: RepositoryOpt = _DEFAULT_REPOSITORY,
    config: ConfigOpt = None,
    model: ModelOpt = None,
    server: ServerOpt = "ovms",
    base_image: BaseOpt = "",
    wheel: WheelOpt = None,
    force: ForceOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """A compose project: the OPEA gateway before a server."""
    from ovembed import deploy

    settings = deploy.ComposeSettings(server, _image(base_image, wheel))
    files = deploy.compose(_survey(repository, config, model), settings, folder)
    _write(files, folder, force=force, as_json=as_json)
    _say_next(quiet, f"docker compose --file {_word(folder / 'compose.yaml')} up --detach --wait")


@app.command("k8s")
def k8s(
    folder: FolderArg,
    repository: RepositoryOpt = _DEFAULT_REPOSITORY,
    config: ConfigOpt = None,
    model: ModelOpt = None,
    server: ServerOpt = "ovms",
    gateway: Annotated[bool, option("--gateway/--no-gateway", help="Put the OPEA gateway before the server.")] = True,
    models: Annotated[
        Literal["pvc", "image"],
        option("--models", help="On a volume, or in the image that `deploy dockerfile --bake` makes."),
    ] = "pvc",
    cpus: Annotated[int, option("--cpus", min=1, help="CPUs of each server pod.")] = 2,
    max_replicas: Annotated[int, option("--max-replicas", min=1, help="Most pods of a kind, under load.")] = 4,
    monitoring: Annotated[
        bool, option("--monitoring", help="The cluster has the Prometheus operator and adapter: use them.")
    ] = False,
    api_key_file: Annotated[
        Path | None,
        option("--api-key-file", help="Keys that clients must show, for a Secret.", show_default="everybody may ask"),
    ] = None,
    force: ForceOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Kubernetes manifests, and values for OVMS's Helm chart."""
    from ovembed import deploy

    settings = deploy.KubernetesSettings(
        server=server,
        gateway=gateway,
        models=models,
        cpus=cpus,
        max_replicas=max_replicas,
        monitoring=monitoring,
        api_key_file=api_key_file,
    )
    files = deploy.kubernetes(_survey(repository, config, model), settings, folder)
    _write(files, folder, force=force, as_json=as_json)
    fill = [f"follow the head of {folder / 'models.yaml'} to fill the volume"] if models == "pvc" else []
    _say_next(quiet, *fill, f"kubectl apply -k {_word(folder)}")


def _survey(repository: Path, config: Path | None, model: str | None) -> Subject:
    from ovembed import deploy
    from ovembed.repository import ModelRepository

    return deploy.survey(ModelRepository(repository, config), model)


def _image(base_image: str, wheel: Path | None, models: Path | None = None) -> ImageSettings:
    from ovembed.deploy import DEFAULT_BASE, ImageSettings

    return ImageSettings(base_image or DEFAULT_BASE, wheel, models)


def _write(files: Files, folder: Path, *, force: bool, as_json: bool) -> None:
    """The paths are the result."""
    from ovembed import deploy

    written = [str(path) for path in deploy.write(files, folder, force=force)]
    if as_json:
        print_json({"files": written})
        return
    for path in written:
        stdout_console().print(path, soft_wrap=True, markup=False)


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def _say_next(quiet: bool, *lines: str) -> None:
    talk = Talk(quiet=quiet)
    talk.say("Next:", "bold")
    for line in lines:
        talk.say(f"  {line}")
