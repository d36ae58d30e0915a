"""`ovembed deploy`: what it writes is valid, says what the repository says, and never overwrites unasked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from ovembed import ModelRepository, __version__
from ovembed.deploy import (
    DEFAULT_BASE,
    ComposeSettings,
    ImageSettings,
    KubernetesSettings,
    Subject,
    compose,
    dockerfile,
    kubernetes,
    survey,
    write,
)
from ovembed.errors import InputError, ModelNotFound
from ovembed.repository import ServingOptions, ovms_version, write_model, write_serving_files
from tests.cli import failure, ovembed
from tests.fakes import make_entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ovembed.deploy import Files

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = Path(sys.executable).parent
COMPOSE_V2 = SCRIPTS / "docker-compose"
SERVERS = ("ovms", "ovembed")
KUBERNETES_VERSIONS = ("1.25", "1.29", "1.33", "1.37")
MODEL = "all-MiniLM-L6-v2"

SETTINGS = [
    KubernetesSettings(),
    KubernetesSettings(server="ovms", gateway=False, models="image", monitoring=True, cpus=8),
    KubernetesSettings(server="ovembed", models="pvc", monitoring=True),
    KubernetesSettings(server="ovembed", gateway=False, models="image", max_replicas=9, api_key_file=Path(__file__)),
    KubernetesSettings(api_key_file=Path(__file__)),
]


def add_model(repository: ModelRepository, name: str, version: str = "2026.3", size: int = 1000) -> None:
    """A model that can be deployed, not run; `size` is its encoder's, in bytes."""
    with repository.stage() as staged:
        entry = make_entry(staged.folder, name, pooling="cls")
        layout = ovms_version(version)
        encoder = "embeddings/1/model" if layout.layout == "classic" else "openvino_model"
        for ending, length in ((".xml", 0), (".bin", size)):
            path = staged.folder / (encoder + ending)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.truncate(length)
        write_serving_files(staged.folder, name, entry.spec, layout, ServingOptions(), pooled=False)
        write_model(
            type(entry)(**{field: getattr(entry, field) for field in entry.__slots__} | {"ovms_version": version})
        )
        repository.publish(staged, name, overwrite=False)


@pytest.fixture
def own(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


@pytest.fixture
def one(own: ModelRepository) -> ModelRepository:
    add_model(own, MODEL)
    return own


def text(files: Files, name: str) -> str:
    content = files[name]
    assert isinstance(content, str)
    return content


def documents(files: Files) -> Iterator[dict[str, Any]]:
    """Every Kubernetes object, those outside the kustomization too."""
    for name, content in files.items():
        if name.endswith(".yaml") and isinstance(content, str):
            yield from (each for each in yaml.safe_load_all(content) if "kind" in each)


def objects(files: Files) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["kind"], each.get("metadata", {}).get("name", "")): each for each in documents(files)}


def server_container(files: Files) -> dict[str, Any]:
    [container] = objects(files)["Deployment", "embedding-server"]["spec"]["template"]["spec"]["containers"]
    return container  # type: ignore[no-any-return]


class TestTheRepositoryAtHand:
    def test_its_only_model_answers(self, one: ModelRepository) -> None:
        subject = survey(one)
        assert (subject.default, subject.servables, subject.ovms.name) == (MODEL, (MODEL,), "2026.3")
        assert (subject.config, subject.size_bytes, subject.reader) == ("config_embeddings.json", 1000, "5000:5000")

    def test_of_several_one_must_be_named(self, one: ModelRepository) -> None:
        add_model(one, "thenlper/gte-small")
        with pytest.raises(ModelNotFound, match=r"holds several models.*--model"):
            survey(one)
        assert survey(one, "thenlper/gte-small").default == "thenlper/gte-small"

    def test_the_newest_layout_decides_which_ovms(self, own: ModelRepository) -> None:
        add_model(own, "a", "2025.4")
        add_model(own, "b", "2026.0")
        assert survey(own, "a").ovms.name == "2026.0"

    def test_classic_models_are_ready_when_their_parts_are(self, own: ModelRepository) -> None:
        add_model(own, "a", "2025.0")
        add_model(own, "b", "2025.3")
        subject = survey(own, "a")
        assert subject.ovms.name == "2025.3"
        assert subject.servables == ("a", "a_tokenizer_model", "a_embeddings_model", "b")

    def test_models_that_no_one_ovms_serves_are_refused(self, own: ModelRepository) -> None:
        add_model(own, "a", "2025.1")
        add_model(own, "b", "2025.4")
        with pytest.raises(InputError, match=r"a \(OVMS 2025.1\), b \(OVMS 2025.4\)"):
            survey(own, "a")

    def test_models_outside_the_folder_are_refused(self, own: ModelRepository, tmp_path: Path) -> None:
        elsewhere = ModelRepository(tmp_path / "elsewhere", own.folder / "config_embeddings.json")
        own.folder.mkdir()
        add_model(elsewhere, "a")
        with pytest.raises(InputError, match=r"served from \.\./elsewhere/a"):
            survey(own)
        with pytest.raises(InputError, match=r"config_embeddings\.json is not in .*elsewhere/"):
            survey(elsewhere)

    def test_who_may_read_them_decides_who_serves_them(
        self, one: ModelRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        weights = one.folder / MODEL / "openvino_model.bin"
        weights.chmod(0o640)
        owner = weights.stat()
        if owner.st_uid == 0:
            with pytest.raises(InputError, match=r"Only root may read .*openvino_model\.bin.*chmod"):
                survey(one)
            shutil.chown(weights, 1234, 4321)
            assert survey(one).reader == "1234:4321"
        else:
            assert survey(one).reader == f"{owner.st_uid}:{owner.st_gid}"


class TestDockerfile:
    @pytest.mark.parametrize("settings", [ImageSettings(), ImageSettings("debian", Path("x.whl"), Path("models"))])
    def test_hadolint_has_nothing_to_say(self, settings: ImageSettings) -> None:
        done = subprocess.run(
            [SCRIPTS / "hadolint", "-"], input=text(dockerfile(settings), "Dockerfile"), capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_the_help_tells_the_base_image(self) -> None:
        assert DEFAULT_BASE in ovembed("deploy", "dockerfile", "--help").stdout.decode()

    def test_what_is_not_asked_for_is_not_copied(self) -> None:
        assert f"ovembed=={__version__}" in text(dockerfile(ImageSettings()), "Dockerfile")
        assert list(dockerfile(ImageSettings())) == ["Dockerfile", ".dockerignore"]
        assert "COPY wheels" not in text(dockerfile(ImageSettings()), "Dockerfile")
        assert "COPY --chown" not in text(dockerfile(ImageSettings()), "Dockerfile")

    def test_a_wheel_and_models_become_part_of_the_context(self, one: ModelRepository, tmp_path: Path) -> None:
        wheel = tmp_path / "ovembed-9.9-py3-none-any.whl"
        wheel.write_bytes(b"wheel")
        done = ovembed("deploy", "dockerfile", "out", "--wheel", str(wheel), "--bake", cwd=tmp_path)
        assert done.stdout.decode().split() == [
            "out/Dockerfile", "out/.dockerignore", "out/wheels/ovembed-9.9-py3-none-any.whl", "out/baked"
        ]  # fmt: skip
        assert "ARG OVEMBED=/wheels/ovembed-9.9-py3-none-any.whl" in (tmp_path / "out/Dockerfile").read_text()
        copied = ModelRepository(tmp_path / "out" / "baked")
        assert copied.names() == one.names()
        assert not (copied.folder / ".staging").exists()
        add_model(one, "later")
        assert "exists already" in failure(ovembed("deploy", "dockerfile", "out", "--bake", cwd=tmp_path))
        assert ovembed("deploy", "dockerfile", "out", "--bake", "--force", cwd=tmp_path).returncode == 0
        assert copied.names() == one.names() == [MODEL, "later"]


class TestCompose:
    @pytest.mark.parametrize("server", SERVERS)
    @pytest.mark.parametrize("program", [COMPOSE_V2, Path("/usr/bin/docker-compose")], ids=["v2", "v1"])
    def test_compose_understands_it(self, program: Path, server: Any, one: ModelRepository, tmp_path: Path) -> None:
        if not program.exists():
            pytest.skip(f"there is no {program}")
        folder = tmp_path / "deploy" / "compose"
        write(compose(survey(one), ComposeSettings(server), folder), folder, force=False)
        done = subprocess.run([program, "config"], cwd=folder, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        services = yaml.safe_load(done.stdout)["services"]
        assert set(services) == {"ovms-embedding-serving", "ovms-embedding-server"}
        [mount] = services["ovms-embedding-serving"]["volumes"]
        assert (Path(mount["source"]), mount["read_only"]) == (one.folder, True)
        assert services["ovms-embedding-server"]["environment"]["MODEL_ID"] == MODEL
        for service in services.values():
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]

    def test_a_folder_may_have_any_name(self, tmp_path: Path) -> None:
        own = ModelRepository(tmp_path / "my 'models': $1 #2")
        add_model(own, "a")
        folder = tmp_path / "compose"
        write(compose(survey(own), ComposeSettings(), folder), folder, force=False)
        done = subprocess.run([COMPOSE_V2, "config"], cwd=folder, capture_output=True, check=True)
        [mount] = yaml.safe_load(done.stdout)["services"]["ovms-embedding-serving"]["volumes"]
        assert mount["source"].replace("$$", "$") == str(own.folder)

    def test_the_variables_of_the_original_decide(self, one: ModelRepository, tmp_path: Path) -> None:
        folder = tmp_path / "compose"
        write(compose(survey(one), ComposeSettings(), folder), folder, force=False)
        variables = {
            "EMBEDDER_PORT": "10205",
            "OVMS_EMBEDDER_PORT": "10206",
            "MODEL_ID": "thenlper/gte-small",
            "MODELS_REPOSITORY": "/srv/models",
        }
        done = subprocess.run([COMPOSE_V2, "config"], cwd=folder, env=variables, capture_output=True, check=True)
        services = yaml.safe_load(done.stdout)["services"]
        serving, gateway = services["ovms-embedding-serving"], services["ovms-embedding-server"]
        assert serving["volumes"][0]["source"] == "/srv/models"
        assert serving["ports"][0]["published"] == "10206"
        assert gateway["ports"][0]["published"] == "10205"
        assert gateway["environment"]["MODEL_ID"] == "thenlper/gte-small"
        assert {"model": "thenlper/gte-small", "input": "ready?"} in map(as_json, serving["healthcheck"]["test"])

    def test_the_example_of_the_variables_names_those_there_are(self, one: ModelRepository, tmp_path: Path) -> None:
        files = compose(survey(one), ComposeSettings(), tmp_path)
        used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text(files, "compose.yaml")))
        told = dict(re.findall(r"^#(\w+)=(.*)$", text(files, ".env.example"), re.MULTILINE))
        oauth = {"TOKEN_URL", "CLIENTID", "CLIENT_SECRET"}
        assert told.keys() == used.keys() - oauth
        assert {name: used[name] for name in told if name != "LOGFLAG"} == {
            name: value for name, value in told.items() if name != "LOGFLAG"
        }

    def test_the_image_follows_the_layout(self, own: ModelRepository, tmp_path: Path) -> None:
        add_model(own, "a", "2025.1")
        files = compose(survey(own), ComposeSettings(), tmp_path)
        assert "openvino/model_server:2025.1}" in text(files, "compose.yaml")


def as_json(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return None


class TestKubernetes:
    @pytest.mark.parametrize("settings", SETTINGS, ids=str)
    @pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
    def test_every_object_is_valid(self, version: str, settings: KubernetesSettings, one: ModelRepository) -> None:
        for each in documents(kubernetes(survey(one), settings, Path("k8s"))):
            if each["kind"] not in {"ServiceMonitor", "Kustomization"}:  # not Kubernetes's own
                kubernetes_validate.validate(each, version, strict=True)

    @pytest.mark.parametrize("settings", SETTINGS, ids=str)
    def test_kustomize_builds_it(self, settings: KubernetesSettings, one: ModelRepository, tmp_path: Path) -> None:
        program = shutil.which("kubectl")
        if program is None:
            pytest.skip("there is no kubectl (Debian: kubernetes-client)")
        folder = tmp_path / "k8s"
        write(kubernetes(survey(one), settings, folder), folder, force=False)
        built = subprocess.run([program, "kustomize", folder], capture_output=True, text=True, check=True).stdout
        kinds = [each["kind"] for each in yaml.safe_load_all(built)]
        assert kinds.count("Deployment") == kinds.count("Service") == 1 + settings.gateway
        assert kinds.count("PersistentVolumeClaim") == (settings.models == "pvc")
        for image in re.findall(r"image: (\S+)", built):
            assert re.fullmatch(rf"openvino/model_server:2026\.3|ovembed-(server|gateway):{__version__}", image)

    @pytest.mark.parametrize("settings", SETTINGS, ids=str)
    def test_names_meet(self, settings: KubernetesSettings, one: ModelRepository) -> None:
        """Selectors find pods, policies and scaling their workloads, ports and volumes what they name."""
        found = objects(kubernetes(survey(one), settings, Path("k8s")))
        pods = {name: each["spec"]["template"] for (kind, name), each in found.items() if kind == "Deployment"}
        labels = [pod["metadata"]["labels"] for pod in pods.values()]
        for (kind, name), each in found.items():
            spec = each.get("spec", {})
            if kind == "HorizontalPodAutoscaler":
                assert spec["scaleTargetRef"]["name"] in pods
            if kind == "Service":
                assert spec["selector"] == pods[name]["metadata"]["labels"]
                [container] = pods[name]["spec"]["containers"]
                assert {port["targetPort"] for port in spec["ports"]} == {port["name"] for port in container["ports"]}
            selector = spec.get("selector", {}).get("matchLabels") or spec.get("podSelector", {}).get("matchLabels")
            if selector and kind != "ServiceMonitor":
                assert selector in labels
        for pod in pods.values():
            volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
            mounted = {
                mount["name"]
                for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
                for mount in container["volumeMounts"]
            }
            assert mounted == volumes
        if settings.gateway:
            assert "http://embedding-server:8000" in str(pods["embedding-gateway"])

    @pytest.mark.parametrize("settings", SETTINGS, ids=str)
    def test_pods_may_do_little(self, settings: KubernetesSettings, one: ModelRepository) -> None:
        for each in documents(kubernetes(survey(one), settings, Path("k8s"))):
            pod = each["spec"]["template"]["spec"] if each["kind"] == "Deployment" else each.get("spec", {})
            for container in pod.get("containers", []) + pod.get("initContainers", []):
                assert pod["securityContext"]["runAsNonRoot"]
                assert not pod["automountServiceAccountToken"]
                assert container["securityContext"]["readOnlyRootFilesystem"]
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                assert {"cpu", "memory"} <= container["resources"]["requests"].keys()

    def test_ovms_is_ready_when_each_model_is(self, one: ModelRepository) -> None:
        ready = server_container(kubernetes(survey(one), KubernetesSettings(), Path("k8s")))["readinessProbe"]
        assert ready["httpGet"]["path"] == f"/v2/models/{MODEL}/ready"
        add_model(one, "thenlper/gte-small")
        ready = server_container(kubernetes(survey(one, MODEL), KubernetesSettings(), Path("k8s")))["readinessProbe"]
        assert ready["exec"]["command"][-2:] == [
            f"http://localhost:8000/v2/models/{MODEL}/ready",
            "http://localhost:8000/v2/models/thenlper%2Fgte-small/ready",
        ]

    def test_our_server_is_ready_when_it_says_so(self, one: ModelRepository) -> None:
        files = kubernetes(survey(one), KubernetesSettings(server="ovembed"), Path("k8s"))
        assert server_container(files)["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"

    def test_resources_follow_cpus_and_model(self, own: ModelRepository) -> None:
        add_model(own, "large", size=640 * 2**20)
        subject = survey(own)
        ours = server_container(kubernetes(subject, KubernetesSettings(server="ovembed", cpus=6), Path("k8s")))
        assert ours["resources"] == {
            "requests": {"cpu": 6, "memory": "2240Mi"},
            "limits": {"cpu": 6, "memory": "4480Mi"},
        }
        ovms = server_container(kubernetes(subject, KubernetesSettings(cpus=6), Path("k8s")))
        assert ovms["resources"] == {"requests": {"cpu": 6, "memory": "1792Mi"}, "limits": {"memory": "5888Mi"}}
        assert ovms["args"][-2:] == ["--rest_workers", "12"]

    def test_waiting_tokens_scale_where_they_can_be_seen(self, one: ModelRepository) -> None:
        def metrics(settings: KubernetesSettings) -> list[str]:
            scaler = objects(kubernetes(survey(one), settings, Path("k8s")))[
                "HorizontalPodAutoscaler", "embedding-server"
            ]
            return [metric["type"] for metric in scaler["spec"]["metrics"]]

        assert metrics(KubernetesSettings(server="ovembed", monitoring=True)) == ["Pods", "Resource"]
        assert metrics(KubernetesSettings(server="ovembed")) == ["Resource"]
        assert metrics(KubernetesSettings(server="ovms", monitoring=True)) == ["Resource"]

    @pytest.mark.parametrize("gateway", [True, False])
    def test_keys_go_into_a_secret(self, gateway: bool, one: ModelRepository, tmp_path: Path) -> None:
        keys = tmp_path / "keys"
        keys.write_text("secret\n")
        keys.chmod(0o600)
        files = kubernetes(survey(one), KubernetesSettings(gateway=gateway, api_key_file=keys), Path("k8s"))
        assert "secret\n" not in "".join(content for content in files.values() if isinstance(content, str))
        assert objects(files)["Kustomization", ""]["secretGenerator"] == [
            {"name": "embedding-keys", "files": ["api-keys"]}
        ]
        [written] = [path for path in write(files, tmp_path / "k8s", force=False) if path.name == "api-keys"]
        assert written.stat().st_mode & 0o777 == 0o600
        asking = "embedding-gateway" if gateway else "embedding-server"
        for kind, name in objects(files):
            if kind == "Deployment":
                asks = "/etc/embedding/api-keys" in str(objects(files)[kind, name])
                assert asks == (name == asking)

    def test_keys_that_nobody_would_ask_for_are_refused(self, own: ModelRepository, tmp_path: Path) -> None:
        add_model(own, "a", "2025.3")
        keyed = KubernetesSettings(gateway=False, api_key_file=tmp_path / "keys")
        with pytest.raises(InputError, match=r"OVMS 2025\.3 asks for no keys"):
            kubernetes(survey(own), keyed, Path("k8s"))

    def test_the_chart_gets_an_ovms_that_takes_its_flags(self, own: ModelRepository) -> None:
        add_model(own, "a", "2025.4")
        assert chart_values(survey(own))["image_name"] == "openvino/model_server:2025.4"
        add_model(own, "b", "2026.3")
        values = chart_values(survey(own, "a"))
        assert values["image_name"] == "openvino/model_server:2026.2"
        assert values["models_settings"]["config_path"] == "/models/config_embeddings.json"
        assert values["models_repository"]["models_volume_claim"] == "embedding-models"

    def test_metrics_that_pretend_to_be_json_are_read_all_the_same(self, own: ModelRepository) -> None:
        add_model(own, "a", "2025.3")
        monitored = objects(kubernetes(survey(own), KubernetesSettings(monitoring=True), Path("k8s")))
        assert monitored["ServiceMonitor", "embedding"]["spec"]["fallbackScrapeProtocol"] == "PrometheusText0.0.4"


def chart_values(subject: Subject) -> Mapping[str, Any]:
    files = kubernetes(subject, KubernetesSettings(), Path("k8s"))
    return yaml.safe_load(text(files, "ovms-chart-values.yaml"))  # type: ignore[no-any-return]


class TestWriting:
    def test_nothing_is_overwritten_unasked_nor_half_done(self, one: ModelRepository, tmp_path: Path) -> None:
        target = tmp_path / "k8s"
        target.mkdir()
        (target / "server.yaml").write_text("mine")
        refused = failure(ovembed("deploy", "k8s", str(target), "-q", cwd=tmp_path))
        assert "server.yaml exists already" in refused
        assert "--force" in refused
        assert [path.name for path in target.iterdir()] == ["server.yaml"]
        done = ovembed("deploy", "k8s", str(target), "--force", "--json", "-q", cwd=tmp_path)
        assert {Path(path) for path in json.loads(done.stdout)["files"]} == set(target.iterdir())
        assert (target / "server.yaml").read_text() != "mine"

    def test_what_cannot_be_made_leaves_the_rest_unwritten(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"missing\.whl does not exist"):
            write({"a": "text", "b": tmp_path / "missing.whl"}, tmp_path / "out", force=False)
        assert not (tmp_path / "out").exists()

    def test_wrong_use_is_told_in_a_line(self, tmp_path: Path) -> None:
        assert "holds no model" in failure(ovembed("deploy", "compose", "out", cwd=tmp_path))
        assert "holds no model" in failure(ovembed("deploy", "dockerfile", "out", "--bake", cwd=tmp_path))
        (tmp_path / "file").touch()
        assert "file cannot be written" in failure(ovembed("deploy", "dockerfile", "file", cwd=tmp_path))
        assert ovembed("deploy", "compose", "out", "--server", "tei", cwd=tmp_path).returncode == 2
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [("compose", "--server", "ovembed"), ("k8s", "--server", "ovembed", "--monitoring")],
    ids=lambda each: each[0],
)
def test_the_examples_are_what_the_commands_write(
    command: tuple[str, ...], one: ModelRepository, tmp_path: Path
) -> None:
    kind, *options = command
    ovembed("deploy", kind, kind, *options, cwd=tmp_path)
    made, kept = (
        {path.relative_to(folder): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}
        for folder in (tmp_path / kind, EXAMPLES / kind)
    )
    assert made == kept
