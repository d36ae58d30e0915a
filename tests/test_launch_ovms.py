"""What OVMS is told to do, for every release: the command lines of the true image and the true binary."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from ovembed.errors import InputError, ServerError
from ovembed.launch import docker_run, ovms
from ovembed.launch.docker_run import ContainerSettings
from ovembed.launch.ovms import OvmsSettings
from ovembed.launch.ovms_flags import parse
from ovembed.repository import SUPPORTED, OvmsVersion, ovms_version
from tests.fakes import make_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovembed.repository import ModelEntry

VERSIONS = pytest.mark.parametrize("version", SUPPORTED, ids=lambda version: version.name)
CLASSIC_UNTIL_2025_3 = ["2025.0", "2025.1", "2025.2", "2025.3"]

IN_CONTAINER = OvmsSettings(PurePosixPath("/models/config_embeddings.json"), 8000)
ON_HOST = OvmsSettings(PurePosixPath("/srv/models/config_embeddings.json"), 8090, "127.0.0.1")
ON_HOST_COMMAND = "--config_path /srv/models/config_embeddings.json --rest_port 8090 --rest_bind_address 127.0.0.1"


def entry(name: str, made_for: str, folder: Path = Path("models")) -> ModelEntry:
    return replace(make_entry(folder / name, name), ovms_version=made_for)


@VERSIONS
def test_in_a_container_rest_is_opened_and_nothing_else(version: OvmsVersion) -> None:
    command = ovms.arguments(IN_CONTAINER, version)
    assert shlex.join(command) == "--config_path /models/config_embeddings.json --rest_port 8000"
    assert parse(command, version)


@VERSIONS
def test_on_the_host_only_this_machine_may_ask(version: OvmsVersion) -> None:
    grpc = " --grpc_bind_address 127.0.0.1" if version.name == "2025.0" else ""
    command = ovms.arguments(ON_HOST, version)
    assert shlex.join(command) == ON_HOST_COMMAND + grpc
    assert parse(command, version)


@VERSIONS
def test_on_one_core_older_releases_are_told_a_number_of_workers(version: OvmsVersion) -> None:
    settings = OvmsSettings(PurePosixPath("/c.json"), 8000, cores=1)
    newer = version.name in {"2026.2", "2026.3"}
    assert ovms.arguments(settings, version)[4:] == ([] if newer else ["--rest_workers", "2"])


@pytest.mark.parametrize(
    ("settings", "flag", "first"),
    [
        (OvmsSettings(PurePosixPath("/c"), 1, api_key_file=PurePosixPath("/key")), "--api_key_file /key", "2025.4"),
        (OvmsSettings(PurePosixPath("/c"), 1, cors_origins=("a", "b")), "--allowed_origins a,b", "2025.2"),
    ],
)
@VERSIONS
def test_what_a_release_cannot_be_told_is_refused_with_the_first_that_can(
    settings: OvmsSettings, flag: str, first: str, version: OvmsVersion
) -> None:
    if SUPPORTED.index(version) < SUPPORTED.index(ovms_version(first)):
        with pytest.raises(
            InputError, match=rf"OVMS {version.name} has no {flag.split(maxsplit=1)[0]}; {first} is the first"
        ):
            ovms.arguments(settings, version)
    else:
        assert shlex.join(ovms.arguments(settings, version)).endswith(flag)


@pytest.mark.parametrize(
    ("made_for", "served_by"),
    [
        ("2025.0", CLASSIC_UNTIL_2025_3),
        ("2025.1", CLASSIC_UNTIL_2025_3[1:]),
        ("2025.2", [version.name for version in SUPPORTED[2:]]),
        ("2026.3", ["2026.3"]),
    ],
)
def test_a_layout_is_served_from_its_release_on_and_a_classic_one_until_2025_3(
    made_for: str, served_by: list[str]
) -> None:
    assert [version.name for version in entry("a", made_for).served_by] == served_by


@pytest.mark.parametrize(
    ("made_for", "image"),
    [
        (["2025.0"], "openvino/model_server:2025.0"),
        (["2025.0", "2025.1"], "openvino/model_server:2025.1"),
        (["2025.1", "2025.3"], "openvino/model_server:2025.3"),
        (["2025.2", "2026.0"], "openvino/model_server:2026.0"),
        (["2026.3"], "openvino/model_server:2026.3"),
    ],
)
def test_the_image_is_the_oldest_that_serves_all_models(made_for: list[str], image: str) -> None:
    entries = [entry(f"m{index}", name) for index, name in enumerate(made_for)]
    assert ovms.choose_image(None, entries, accelerated=False) == (image, ovms_version(image.rpartition(":")[2]))
    assert ovms.choose_image(None, entries, accelerated=True)[0] == f"{image}-gpu"


def test_models_that_no_release_serves_together_are_told_with_what_each_needs() -> None:
    with pytest.raises(
        InputError, match=r"old needs 2025\.0 to 2025\.3, new needs 2026\.3\. .*--model.*export"
    ) as caught:
        ovms.choose_version([entry("old", "2025.0"), entry("new", "2026.3")])
    assert "ovembed export models/old --name old --ovms-version 2026.3 --overwrite" in str(caught.value)


@pytest.mark.parametrize("image", ["openvino/model_server:2025.3", "reg.example:5000/ovms:2026.2.1-gpu", "x:2025.4-py"])
def test_an_image_of_the_wrong_release_is_refused_with_those_that_fit(image: str) -> None:
    with pytest.raises(InputError, match=r"does not serve 'a', which is laid out for 2026\.3\. Take OVMS 2026\.3, or"):
        ovms.choose_image(image, [entry("a", "2026.3")], accelerated=False)


@pytest.mark.parametrize("image", ["openvino/model_server:latest", "reg.example:5000/ovms", "mine:2026.3.1"])
def test_an_image_of_the_right_release_or_of_none_that_is_known_is_taken(image: str) -> None:
    assert ovms.choose_image(image, [entry("a", "2026.3")], accelerated=False) == (image, ovms_version("2026.3"))


def script(folder: Path, text: str) -> str:
    path = folder / "ovms"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("release", ["2025.0", "2025.4.1", "2026.3"])
def test_the_version_of_a_binary_is_read(tmp_path: Path, release: str) -> None:
    binary = script(tmp_path, f"echo OpenVINO Model Server {release}.0.72cc06244; echo OpenVINO backend {release}")
    assert ovms.binary_version(binary) == ovms_version(release)


@pytest.mark.parametrize(
    ("text", "problem", "kind"),
    [
        ("echo no library >&2; exit 127", r"does not tell its version \(no library\)", ServerError),
        ("true", "it says nothing", ServerError),
        ("echo OpenVINO Model Server 2031.1", "newer than this ovembed knows", InputError),
    ],
)
def test_a_binary_that_does_not_tell_a_version_we_know_is_refused(
    tmp_path: Path, text: str, problem: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=problem):
        ovms.binary_version(script(tmp_path, text))


def test_a_binary_is_found_on_the_path_or_where_it_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for named, problem in ((None, "There is no 'ovms' on PATH"), ("./no/ovms", "./no/ovms is no program")):
        with pytest.raises(InputError, match=problem):
            ovms.find_binary(named)
    binary = script(tmp_path, "true")
    assert ovms.find_binary(None) == ovms.find_binary(binary) == binary


WSL = "type=bind,source=/usr/lib/wsl,target=/usr/lib/wsl,readonly"


def run_arguments(**changes: object) -> str:
    settings: dict[str, object] = {
        "name": "ovms-embedding-serving",
        "image": "openvino/model_server:2026.3",
        "published": "127.0.0.1:8090",
        "mounts": {docker_run.MODELS: Path("/srv/my models")},
    }
    container = ContainerSettings(**(settings | changes))
    return shlex.join(docker_run.arguments(container, ["--rest_port", "8000"], "docker"))


BEGINNING = (
    "--name ovms-embedding-serving --pull never --publish 127.0.0.1:8090:8000 "
    "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges "
    "--mount 'type=bind,source=/srv/my models,target=/models,readonly' "
)
END = "openvino/model_server:2026.3 --rest_port 8000"


def test_a_container_sees_the_models_and_may_change_nothing() -> None:
    assert run_arguments() == BEGINNING + END


def test_a_container_gets_what_it_is_asked_to_have() -> None:
    assert run_arguments(
        user="1000:1000", environment=("https_proxy",), devices=("--device", "/dev/dri"), restart=True
    ) == (f"{BEGINNING}--user 1000:1000 --env https_proxy --device /dev/dri --restart unless-stopped {END}")


def test_podman_is_told_to_keep_the_user() -> None:
    container = ContainerSettings("n", "i", "127.0.0.1:1", {}, user="1000:1000")
    assert "--user 1000:1000 --userns keep-id" in shlex.join(docker_run.arguments(container, [], "podman"))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("::1", "::1")],
)
def test_a_container_is_published_on_an_address(host: str, expected: str) -> None:
    assert docker_run.address(host) == expected


def test_a_name_to_publish_a_container_on_is_refused() -> None:
    with pytest.raises(InputError, match=r"'example\.org' is none\. Give --host"):
        docker_run.address("example.org")


def test_proxies_are_passed_on_by_name_in_either_spelling() -> None:
    environment = {"HTTPS_PROXY": "http://user:secret@proxy", "no_proxy": "localhost", "http_proxy": ""}
    assert docker_run.proxies(environment) == ("HTTPS_PROXY", "no_proxy")


@pytest.mark.parametrize(
    ("places", "find", "expected"),
    [
        (["dri/renderD128"], docker_run.gpu, ["--device", "/dev/dri", "--group-add", "GROUP"]),
        (["accel/accel0"], docker_run.npu, ["--device", "/dev/accel", "--group-add", "GROUP"]),
        (["dxg"], docker_run.gpu, ["--device", "/dev/dxg", "--mount", WSL]),
    ],
    ids=["gpu", "npu", "wsl"],
)
def test_devices_come_with_their_group(
    places: list[str], find: Callable[[Path], tuple[str, ...]], expected: list[str], tmp_path: Path
) -> None:
    for place in places:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    group = str(tmp_path.joinpath(places[0]).stat().st_gid)
    assert list(find(tmp_path)) == [group if word == "GROUP" else word for word in expected]


@pytest.mark.parametrize(("find", "what"), [(docker_run.gpu, "GPU"), (docker_run.npu, "NPU")])
def test_a_device_that_is_not_here_is_refused(
    find: Callable[[Path], tuple[str, ...]], what: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"There is no {what} here"):
        find(tmp_path)


def test_a_model_outside_of_what_is_mounted_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "models" / "org" / "a"
    inside.mkdir(parents=True)
    assert docker_run.visible_from(tmp_path / "models", {"a": inside}) == {"a": PurePosixPath("/models/org/a")}
    with pytest.raises(InputError, match=r"'b' lies in .*outside of"):
        docker_run.visible_from(tmp_path / "models", {"b": tmp_path})


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_files_that_only_their_owner_may_read_are_read_as_the_owner(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    (model / "weights").touch(mode=0o644)
    assert docker_run.user_for(tmp_path, [model]) is None
    (model / "weights").chmod(0o600)
    with pytest.raises(InputError, match=r"Only root may read .*weights, .*chmod -R o\+rX .*model$"):
        docker_run.user_for(tmp_path, [model])
    os.chown(model / "weights", 1234, 5678)
    assert docker_run.user_for(tmp_path, [model]) == "1234:5678"
    with pytest.raises(InputError, match="no-key cannot be read"):
        docker_run.user_for(tmp_path, [tmp_path / "no-key"])
