"""The generated Dockerfile and compose project on a real engine: built, run, asked, broken, recovered, removed."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import openai
import pytest
import yaml

from ovembed import launch, open_embedder, vectors
from ovembed.deploy import (
    ComposeSettings,
    ImageSettings,
    KubernetesSettings,
    compose,
    dockerfile,
    kubernetes,
    movable_config,
    survey,
    write,
)
from tests.engine import BASE_IMAGE, DockerEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed import ModelRepository
    from ovembed.deploy import Server
    from ovembed.protocols import Vectors

ROOT = Path(__file__).parents[1]
MODEL = "minilm-fp32"
PATIENCE_S = 120
HTTP_ERROR_OF_CURL = 22
COMPOSE = {"v2": Path(sys.executable).parent / "docker-compose", "v1": Path("/usr/bin/docker-compose")}


@dataclass(frozen=True)
class Images:
    """Tags of what was built, and the wheel it was built from, beside all that the wheel needs."""

    wheel: Path
    server: str
    gateway: str

    def settings(self, models: Path | None = None) -> ImageSettings:
        return ImageSettings(BASE_IMAGE, self.wheel, models)

    def build(self, engine: DockerEngine, context: Path, target: str, tag: str) -> None:
        """Without a network: pip finds everything among the wheels."""
        for wheel in self.wheel.parent.glob("*.whl"):
            shutil.copy(wheel, context / "wheels")
        engine.build(context, tag, "--network", "none", "--build-arg", "PIP_NO_INDEX=1", "--target", target)


@pytest.fixture(scope="module")
def wheelhouse(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, among those of all that it needs."""
    place = tmp_path_factory.mktemp("wheelhouse")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "-c", str(ROOT / ".ci/constraints.txt"), "-w", str(place)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    return place / wheel.name


@pytest.fixture(scope="module")
def images(docker_engine: DockerEngine, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """Both, by the generated Dockerfile; nothing of them is left in the end."""
    tag = f"ovembed-test-{secrets.token_hex(4)}"
    built = Images(wheelhouse, f"{tag}-server", f"{tag}-gateway")
    context = tmp_path_factory.mktemp("context")
    write(dockerfile(built.settings()), context, force=False)
    tags = {"build": f"{tag}-build", "server": built.server, "gateway": built.gateway}
    try:
        for target, name in tags.items():
            built.build(docker_engine, context, target, name)
        yield built
    finally:
        docker_engine("image", "rm", *tags.values(), check=False)


class Project:
    """A compose project that runs."""

    def __init__(self, engine: DockerEngine, program: Path, folder: Path, variables: dict[str, str]) -> None:
        self.name = f"ovembed-test-{secrets.token_hex(4)}"
        self._engine = engine
        self._program = program
        self._folder = folder
        self._environment = os.environ | variables | {"COMPOSE_PROJECT_NAME": self.name}

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._program, *arguments],
            cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr + self._logs()
        return done.stdout.strip()

    def url(self, service: str, port: int) -> str:
        return "http://127.0.0.1:" + self("port", service, str(port)).rpartition(":")[2]

    def inspect(self, service: str, what: str) -> str:
        return self._engine("inspect", "--format", f"{{{{{what}}}}}", self("ps", "-q", service)).stdout.strip()

    def left(self) -> list[str]:
        """Containers and networks of the project."""
        belonging = ("--quiet", "--filter", f"label=com.docker.compose.project={self.name}")
        found = self._engine("ps", "--all", *belonging).stdout + self._engine("network", "ls", *belonging).stdout
        return found.split()

    def _logs(self) -> str:
        done = subprocess.run(
            [self._program, "logs", "--tail", "40"],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        return done.stdout


@contextmanager
def project(
    engine: DockerEngine, version: str, images: Images, repository: ModelRepository, folder: Path
) -> Iterator[Project]:
    """Up from the files as they are generated; only images and ports are others, by the variables for that."""
    program = COMPOSE[version]
    if not program.exists():
        pytest.skip(f"there is no {program}")
    write(compose(survey(repository, MODEL), ComposeSettings("ovembed"), folder), folder, force=False)
    variables = {
        "OVMS_IMAGE": images.server,
        "GATEWAY_IMAGE": images.gateway,
        "EMBEDDER_PORT": "0",
        "OVMS_EMBEDDER_PORT": "0",
    }
    running = Project(engine, program, folder, variables)
    try:
        running("up", "--detach", *(["--wait"] if version == "v2" else []))
        yield running
    finally:
        running("down", "--timeout", "20")
    assert running.left() == []


@pytest.fixture(scope="module")
def up(
    docker_engine: DockerEngine, images: Images, repository: ModelRepository, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    with project(docker_engine, "v2", images, repository, tmp_path_factory.mktemp("compose")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(up: Project) -> str:
    return up.url("ovms-embedding-server", 6000)


def local(repository: ModelRepository, *texts: str) -> Vectors:
    """What the model gives in this process."""
    with open_embedder(MODEL, repository=repository.folder) as embedder:
        return embedder.embed(texts).vectors


def assert_alike(rows: list[list[float]], wanted: Vectors) -> None:
    got = np.array(rows, dtype=np.float32)
    assert got.shape == wanted.shape
    assert float(vectors.cosine(got, wanted).min()) > 0.99999


class TestImages:
    def test_nothing_is_left_in_them_that_only_a_build_needs(self, docker_engine: DockerEngine, images: Images) -> None:
        script = (
            "import importlib.util, os, pathlib, shutil;"
            "print([name for name in ('pip', 'setuptools', 'torch', 'transformers') if importlib.util.find_spec(name)],"
            "[name for name in ('gcc', 'make', 'cmake', 'git') if shutil.which(name)],"
            "os.path.exists('/wheels'), list(pathlib.Path('/').glob('root/.cache')), os.getuid(), os.getgid())"
        )
        for image in (images.server, images.gateway):
            told = docker_engine("run", "--rm", "--entrypoint", "python3", image, "-c", script).stdout
            assert told.strip() == "[] [] False [] 5000 5000"

    def test_they_share_their_layers_and_stay_small(self, docker_engine: DockerEngine, images: Images) -> None:
        def layers(image: str) -> list[str]:
            return docker_engine("inspect", "--format", "{{json .RootFS.Layers}}", image).stdout.split(",")

        def megabytes(image: str) -> float:
            return int(docker_engine("inspect", "--format", "{{.Size}}", image).stdout) / 1e6

        assert layers(images.server) == layers(images.gateway)
        added = megabytes(images.server) - megabytes(BASE_IMAGE)
        print(f"the images add {added:.0f} MB to their base")
        assert added < 400

    def test_baked_models_are_served_read_only_until_sigterm(
        self, docker_engine: DockerEngine, images: Images, repository: ModelRepository, tmp_path: Path
    ) -> None:
        write(dockerfile(images.settings(repository.folder), movable_config(repository)), tmp_path, force=False)
        tag = f"{images.server}-baked"
        images.build(docker_engine, tmp_path, "server", tag)
        [container] = docker_engine(
            "run", "--detach", "--read-only", "--publish", "127.0.0.1:0:8000", tag
        ).stdout.split()
        try:
            port = docker_engine("port", container, "8000").stdout.split()[0].rpartition(":")[2]
            report = launch.wait_healthy(f"http://127.0.0.1:{port}", PATIENCE_S)
            assert report.healthy, docker_engine("logs", container, check=False)
            docker_engine("stop", "--time", "30", container)
            assert docker_engine("inspect", "--format", "{{.State.ExitCode}}", container).stdout.strip() == "0"
        finally:
            docker_engine("rm", "--force", "--volumes", container)
            docker_engine("image", "rm", tag)

    def test_sigterm_ends_them_while_they_start(
        self, docker_engine: DockerEngine, images: Images, tmp_path: Path
    ) -> None:
        """A configuration that is a pipe holds the server where it reads it."""
        tmp_path.chmod(0o755)
        pipe = tmp_path / "config_embeddings.json"
        os.mkfifo(pipe)
        [container] = docker_engine(
            "run", "--detach", "--volume", f"{tmp_path}:/models:ro", images.server
        ).stdout.split()
        try:
            with pipe.open("w"):
                docker_engine("stop", "--time", "30", container)
            assert docker_engine("inspect", "--format", "{{.State.ExitCode}}", container).stdout.strip() == "143"
        finally:
            docker_engine("rm", "--force", "--volumes", container)


class TestComposeProject:
    """The end-to-end test of OPEA, with the numbers looked at."""

    def test_a_single_text(self, gateway: str, repository: ModelRepository) -> None:
        reply = httpx.post(f"{gateway}/v1/embeddings", json={"input": "What is Deep Learning?"}, timeout=30).json()
        assert_alike([item["embedding"] for item in reply["data"]], local(repository, "What is Deep Learning?"))
        assert reply["model"] == MODEL

    def test_two_texts_with_dimensions(self, gateway: str, repository: ModelRepository) -> None:
        texts = ["What is Deep Learning?", "How are you?"]
        reply = httpx.post(f"{gateway}/v1/embeddings", json={"input": texts, "dimensions": 100}, timeout=30).json()
        assert [item["index"] for item in reply["data"]] == [0, 1]
        assert_alike([item["embedding"] for item in reply["data"]], vectors.cut(local(repository, *texts), 100))

    def test_the_openai_client(self, gateway: str, repository: ModelRepository) -> None:
        with openai.OpenAI(api_key="empty", base_url=f"{gateway}/v1") as client:
            reply = client.embeddings.create(model="tei", input="What is Deep Learning?")
        assert_alike([reply.data[0].embedding], local(repository, "What is Deep Learning?"))

    def test_the_server_answers_as_ovms_does(self, up: Project, repository: ModelRepository) -> None:
        url = up.url("ovms-embedding-serving", 8000)
        reply = httpx.post(f"{url}/v3/embeddings", json={"model": MODEL, "input": "a text"}, timeout=30).json()
        assert_alike([item["embedding"] for item in reply["data"]], local(repository, "a text"))

    def test_the_check_of_ovms_own_image_tells_a_model_that_is_there(
        self, up: Project, repository: ModelRepository, tmp_path: Path
    ) -> None:
        """Run from outside, as the test's image has no curl."""
        files = compose(survey(repository, MODEL), ComposeSettings("ovms"), tmp_path)
        services = yaml.safe_load(str(files["compose.yaml"]))["services"]
        _, *command = services["ovms-embedding-serving"]["healthcheck"]["test"]
        url = up.url("ovms-embedding-serving", 8000)

        def exit_code(model: str) -> int:
            words = [
                word.replace("${MODEL_ID:-minilm-fp32}", model).replace("http://localhost:8000", url)
                for word in command
            ]
            return subprocess.run(words, capture_output=True).returncode

        assert exit_code(MODEL) == 0
        assert exit_code("org/missing") == HTTP_ERROR_OF_CURL

    @pytest.mark.parametrize("server", ["ovms", "ovembed"])
    def test_kubernetes_asks_what_they_answer(self, server: Server, up: Project, repository: ModelRepository) -> None:
        """Probes, and the metric that scales."""
        files = kubernetes(survey(repository, MODEL), KubernetesSettings(server=server, monitoring=True), Path("k8s"))
        urls = {
            "server.yaml": up.url("ovms-embedding-serving", 8000),
            "gateway.yaml": up.url("ovms-embedding-server", 6000),
        }
        for name, url in urls.items():
            deployment = next(yaml.safe_load_all(str(files[name])))
            [container] = deployment["spec"]["template"]["spec"]["containers"]
            for probe in (container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")):
                if "exec" in probe:
                    words = [word.replace("http://localhost:8000", url) for word in probe["exec"]["command"]]
                    assert subprocess.run(words, capture_output=True).returncode == 0
                else:
                    assert httpx.get(url + probe["httpGet"]["path"], timeout=30).status_code == 200
        page = httpx.get(urls["server.yaml"] + "/metrics", timeout=30).text
        assert f'ovembed_queue_tokens{{model="{MODEL}"}} 0' in page

    def test_who_they_are_and_what_they_may(self, up: Project) -> None:
        for service in ("ovms-embedding-serving", "ovms-embedding-server"):
            assert up.inspect(service, ".State.Health.Status") == "healthy"
            assert up.inspect(service, ".HostConfig.ReadonlyRootfs") == "true"
            assert up("exec", "-T", service, "id", "-u") == "5000"

    def test_a_killed_server_comes_back_and_the_gateway_finds_it(
        self, up: Project, gateway: str, repository: ModelRepository
    ) -> None:
        os.kill(int(up.inspect("ovms-embedding-serving", ".State.Pid")), signal.SIGKILL)
        report = launch.wait_healthy(gateway, PATIENCE_S, model=MODEL)
        assert report.healthy, report
        assert up.inspect("ovms-embedding-serving", ".RestartCount") == "1"
        assert up.inspect("ovms-embedding-server", ".RestartCount") == "0"
        self.test_a_single_text(gateway, repository)


def test_the_old_docker_compose_brings_it_up_too(
    docker_engine: DockerEngine, images: Images, repository: ModelRepository, tmp_path: Path
) -> None:
    with project(docker_engine, "v1", images, repository, tmp_path) as running:
        report = launch.wait_healthy(running.url("ovms-embedding-server", 6000), PATIENCE_S, model=MODEL)
        assert report.healthy, report
