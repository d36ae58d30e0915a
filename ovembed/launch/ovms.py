"""OVMS's own side of a launch: which release serves these models, and what it is told on its command line."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed.errors import InputError, ServerError
from ovembed.launch.ovms_flags import FLAGS
from ovembed.repository import NEWEST, ovms_version, serving_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePath

    from ovembed.repository import ModelEntry, OvmsVersion

IMAGE = "openvino/model_server"

_TAG = re.compile(r"(?P<release>[0-9]{4}\.[0-9]+(\.[0-9]+)?)(-.*)?")
_VERSION_LINE = re.compile(r"OpenVINO Model Server (?P<release>[0-9]{4}\.[0-9]+)")
_FIRST_WITHOUT_GRPC = "2025.1"
_FIRST_FOR_ONE_CORE = "2026.2"
_LEAST_WORKERS = 2
_PATIENCE_S = 30


@dataclass(frozen=True, slots=True)
class OvmsSettings:
    """What an OVMS is told. Paths are those that it sees itself; `host` None listens on every address.

    `cores` is how many it will find; on one alone, releases before 2026.2 do not start by default.
    """

    config: PurePath
    port: int
    host: str | None = None
    api_key_file: PurePath | None = None
    cors_origins: tuple[str, ...] = ()
    cores: int = _LEAST_WORKERS


def arguments(settings: OvmsSettings, version: OvmsVersion) -> list[str]:
    """The command line of that release, without the program. Raises InputError for what it cannot be told."""
    told = {"config_path": str(settings.config), "rest_port": str(settings.port)}
    if settings.host is not None:
        told["rest_bind_address"] = settings.host
        if version.older_than(_FIRST_WITHOUT_GRPC):
            told["grpc_bind_address"] = settings.host  # gRPC cannot be left out
    if settings.cores < _LEAST_WORKERS and version.older_than(_FIRST_FOR_ONE_CORE):
        told["rest_workers"] = str(_LEAST_WORKERS)
    if settings.api_key_file is not None:
        told["api_key_file"] = str(settings.api_key_file)
    if settings.cors_origins:
        told["allowed_origins"] = ",".join(settings.cors_origins)
    for name in told:
        if not FLAGS[name].known_to(version):
            raise InputError(
                f"OVMS {version.name} has no --{name}; {FLAGS[name].since} is the first that has. "
                "Leave the option out, or use --backend local."
            )
    return [word for name, value in told.items() for word in (f"--{name}", value)]


def choose_version(entries: Sequence[ModelEntry]) -> OvmsVersion:
    """The oldest release that serves all of them. Raises InputError where none does."""
    version = serving_all({entry.ovms_version for entry in entries})
    if version is not None:
        return version
    needs = ", ".join(f"{entry.name} needs {_span(entry.served_by)}" for entry in entries)
    raise InputError(
        f"No OVMS serves these models together: {needs}. Serve some of them with --model, or export again: "
        f"{_export_again(entries[0], NEWEST)}"
    )


def check_version(version: OvmsVersion, entries: Sequence[ModelEntry], what: str) -> None:
    """Raises InputError, with what would fit, when `what` is of a release that does not serve one of them."""
    for entry in entries:
        if version not in entry.served_by:
            raise InputError(
                f"{what} does not serve '{entry.name}', which is laid out for {entry.ovms_version}. Take OVMS "
                f"{_span(entry.served_by)}, or export it again: {_export_again(entry, version)}"
            )


def choose_image(image: str | None, entries: Sequence[ModelEntry], *, accelerated: bool) -> tuple[str, OvmsVersion]:
    """The image to run, and its release as far as it is known: an image of no such tag is taken at its word.

    `accelerated` asks for the drivers of GPU and NPU. Raises InputError for an image that cannot serve the models.
    """
    fitting = choose_version(entries)
    if image is None:
        return f"{IMAGE}:{fitting.name}{'-gpu' if accelerated else ''}", fitting
    tag = _TAG.fullmatch(image.rpartition(":")[2])
    if tag is None:
        return image, fitting
    version = ovms_version(tag["release"])
    check_version(version, entries, image)
    return image, version


def find_binary(path: str | None) -> str:
    """As given, else `ovms` on PATH. Raises InputError when there is none."""
    found = shutil.which(path or "ovms")
    if found is None:
        where = f"{path} is no program" if path else "There is no 'ovms' on PATH"
        raise InputError(f"{where}. Name it with --ovms-binary, or use --backend docker or local.")
    return found


def binary_version(binary: str) -> OvmsVersion:
    """By what it says of itself. Raises ServerError when it says nothing of the kind, InputError for a newer one."""
    try:
        done = subprocess.run(
            [binary, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_PATIENCE_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"{binary} --version cannot be run ({error}).") from error
    said = _VERSION_LINE.search(done.stdout)
    if said is None:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise ServerError(f"{binary} does not tell its version ({words[-1] if words else 'it says nothing'}).")
    return ovms_version(said["release"])


def _span(versions: Sequence[OvmsVersion]) -> str:
    first, last = versions[0].name, versions[-1].name
    return first if first == last else f"{first} to {last}"


def _export_again(entry: ModelEntry, version: OvmsVersion) -> str:
    return f"ovembed export {entry.folder} --name {entry.name} --ovms-version {version.name} --overwrite"
