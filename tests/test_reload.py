"""Models that come, change and go while the server answers; repositories that break meanwhile."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ovembed.repository import ModelRepository
from ovembed.server.reload import Reloader, logged
from ovembed.server.selection import Selection
from ovembed.server.service import Service
from ovembed.server.settings import ServeSettings
from ovembed.serving.condition import GoldenText
from ovembed.serving.loading import LoadedModel, load_model
from tests.fakes import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from ovembed.engine import EngineSettings
    from ovembed.repository import ModelEntry

    Scenario = Callable[[httpx.AsyncClient], Awaitable[Any]]

PATIENCE_S = 30
GOLDEN = [1, 97, 2]


class Site:
    """A service over a repository of real folders, and the engines that it was given for them, in turn.

    `gate`, when cleared, holds every load until it is set; `loading` is set when one begins.
    """

    def __init__(self, repository: ModelRepository, *chosen: str) -> None:
        self.repository = repository
        self.engines: list[FakeEngine] = []
        self.gate = threading.Event()
        self.gate.set()
        self.loading = threading.Event()
        self.service = Service(ServeSettings())
        self.reloader = Reloader(Selection(repository, chosen), self.service, self.load)
        self.reloader.load()

    def load(self, entry: ModelEntry, settings: EngineSettings) -> LoadedModel:
        """Checks the files as the real engine does, and gives one that can be held."""
        load_model(entry, settings)
        self.loading.set()
        assert self.gate.wait(PATIENCE_S)
        engine = FakeEngine(entry.spec)
        self.engines.append(engine)
        return LoadedModel(entry.name, engine, GoldenText(GOLDEN, engine.row(GOLDEN)), created=0)

    def ask(self, scenario: Scenario) -> Any:
        async def main() -> Any:
            transport = httpx.ASGITransport(
                self.service.app(reload=logged(self.reloader.reload)), raise_app_exceptions=False
            )
            async with httpx.AsyncClient(transport=transport, base_url="http://server.example") as client:
                async with asyncio.timeout(PATIENCE_S):
                    return await scenario(client)

        return asyncio.run(main())

    def close(self) -> None:
        for engine in self.engines:
            engine.gate.set()
        self.service.close()

    def add(self, name: str) -> None:
        shutil.copytree(self.repository.folder / "tiny", self.repository.folder / name)
        self.add_again(name)

    def add_again(self, name: str) -> None:
        self.rewrite(lambda graphs: [*graphs, {"name": name, "base_path": name}])

    def replace(self, name: str) -> None:
        """As an export with --overwrite does."""
        beside = self.repository.folder / "beside"
        shutil.copytree(self.repository.folder / name, beside)
        shutil.rmtree(self.repository.folder / name)
        beside.rename(self.repository.folder / name)

    def remove(self, name: str) -> None:
        self.rewrite(lambda graphs: [graph for graph in graphs if graph["name"] != name])

    def rewrite(self, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
        path = self.repository.config_path
        content = json.loads(path.read_text())
        content["mediapipe_config_list"] = change(content["mediapipe_config_list"])
        path.write_text(json.dumps(content))


@pytest.fixture
def models(repository: ModelRepository, tmp_path: Path) -> ModelRepository:
    """`tiny` alone."""
    made = ModelRepository(tmp_path / "models")
    shutil.copytree(repository.folder / "tiny", made.folder / "tiny")
    made.config_path.write_text(
        json.dumps({"model_config_list": [], "mediapipe_config_list": [{"name": "tiny", "base_path": "tiny"}]})
    )
    return made


@pytest.fixture
def site(models: ModelRepository) -> Iterator[Site]:
    site = Site(models)
    yield site
    site.close()


async def reload(client: httpx.AsyncClient, status: int) -> Any:
    response = await client.post("/v1/config/reload")
    assert response.status_code == status, response.text
    return response.json()


async def states(client: httpx.AsyncClient) -> dict[str, tuple[str, str]]:
    found = (await client.get("/v1/config")).json()
    assert all(list(entry) == ["model_version_status"] for entry in found.values())
    statuses = {name: entry["model_version_status"][0] for name, entry in found.items()}
    return {name: (each["state"], each["status"]["error_code"]) for name, each in statuses.items()}


async def embed(client: httpx.AsyncClient, model: str, path: str = "/v1/embeddings") -> httpx.Response:
    return await client.post(path, json={"model": model, "input": "a"})


async def held(client: httpx.AsyncClient, engine: FakeEngine) -> asyncio.Task[httpx.Response]:
    """A request that the engine works at until its gate is opened."""
    engine.gate.clear()
    request = asyncio.create_task(embed(client, "tiny"))
    assert await asyncio.to_thread(engine.started.wait, PATIENCE_S)
    return request


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_nothing_to_do_is_200_and_touches_nothing(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        site.rewrite(lambda graphs: graphs)
        assert await reload(client, 200) == (await client.get("/v1/config")).json()
        assert await states(client) == {"tiny": ("AVAILABLE", "OK")}

    site.ask(scenario)
    assert len(site.engines) == 1


def test_a_new_model_is_unready_until_it_is_loaded(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        site.add("new")
        site.loading.clear()
        site.gate.clear()
        call = asyncio.create_task(reload(client, 201))
        assert await asyncio.to_thread(site.loading.wait, PATIENCE_S)
        assert await states(client) == {"tiny": ("AVAILABLE", "OK"), "new": ("LOADING", "OK")}
        assert (await client.get("/v2/models/new/ready")).status_code == 503
        assert (await client.get("/v2/health/ready")).status_code == 200
        assert (await embed(client, "tiny")).status_code == 200
        early = await embed(client, "new")
        assert (early.status_code, early.json()["error"]["code"]) == (503, "model_unready")
        assert "Retry-After" in early.headers
        assert (await embed(client, "new", "/v3/embeddings")).json() == {"error": "Mediapipe is not loaded yet"}
        site.gate.set()
        await call
        assert (await client.get("/v2/models/new/ready")).status_code == 200
        assert (await embed(client, "new")).status_code == 200
        assert (await client.post("/v1/embeddings", json={"input": "a"})).status_code == 400, (
            "two models to choose from"
        )

    site.ask(scenario)
    assert len(site.engines) == 2


def test_a_removed_model_answers_what_it_has_and_takes_nothing_more(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        site.add("other")
        await reload(client, 201)
        request = await held(client, site.engines[0])
        site.remove("tiny")
        await reload(client, 201)
        assert await states(client) == {"tiny": ("UNLOADING", "OK"), "other": ("AVAILABLE", "OK")}
        assert (await embed(client, "tiny", "/v3/embeddings")).json() == {"error": "Mediapipe is retired"}
        gone = await embed(client, "tiny")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "model_not_found")
        assert (await client.get("/v2/models/tiny/ready")).status_code == 404
        assert 'model_healthy{model="tiny"}' not in (await client.get("/metrics")).text
        site.engines[0].gate.set()
        assert (await request).status_code == 200
        await until(lambda: site.service.catalog.statuses["tiny"].state == "END")
        assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["other"]
        site.rewrite(lambda graphs: [{"name": "tiny", "base_path": "tiny"}, *graphs])
        await reload(client, 201)
        assert (await embed(client, "tiny")).status_code == 200

    site.ask(scenario)


def test_a_changed_model_is_swapped_and_no_request_fails(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        old = site.engines[0]
        request = await held(client, old)
        queued = asyncio.create_task(embed(client, "tiny"))
        site.replace("tiny")
        await reload(client, 201)
        assert (await embed(client, "tiny")).status_code == 200, "by the new one, while the old one is held"
        assert len(old.batches) == 1
        assert len(site.engines[1].batches) == 1
        old.gate.set()
        assert {(await request).status_code, (await queued).status_code} == {200}
        assert await states(client) == {"tiny": ("AVAILABLE", "OK")}
        await until(lambda: [thread.name for thread in threading.enumerate()].count("batch-0") == 1)

    site.ask(scenario)


def test_requests_under_way_never_meet_a_closed_queue(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> set[int]:
        done = asyncio.Event()
        statuses: set[int] = set()

        async def call() -> None:
            while not done.is_set():
                statuses.add((await embed(client, "tiny")).status_code)

        callers = [asyncio.create_task(call()) for _ in range(8)]
        for _ in range(5):
            site.replace("tiny")
            await reload(client, 201)
        done.set()
        await asyncio.gather(*callers)
        return statuses

    assert site.ask(scenario) == {200}
    assert len(site.engines) == 6


def test_calls_at_the_same_time_load_once(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> list[int]:
        site.replace("tiny")
        replies = await asyncio.gather(*(client.post("/v1/config/reload") for _ in range(8)))
        return sorted(reply.status_code for reply in replies)

    assert site.ask(scenario) == [200] * 7 + [201]
    assert len(site.engines) == 2


def break_json(site: Site) -> None:
    site.repository.config_path.write_text("{")


def delete_config(site: Site) -> None:
    site.repository.config_path.unlink()


def delete_model(site: Site) -> None:
    shutil.rmtree(site.repository.folder / "tiny")


def truncate_weights(site: Site) -> None:
    site.replace("tiny")
    (site.repository.folder / "tiny" / "openvino_model.bin").write_bytes(b"not weights")


def delete_golden(site: Site) -> None:
    (site.repository.folder / "tiny" / "golden.npz").unlink()


@pytest.mark.parametrize(
    ("break_it", "status", "problem"),
    [
        (break_json, 412, "is not an OVMS configuration"),
        (delete_config, 500, "config_embeddings.json is missing"),
        (delete_model, 400, "holds no exported model"),
        (delete_golden, 400, "golden.npz is missing"),
        (truncate_weights, 500, "cannot be loaded"),
    ],
)
def test_what_breaks_is_told_and_the_old_model_serves(
    site: Site, caplog: pytest.LogCaptureFixture, break_it: Callable[[Site], None], status: int, problem: str
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        break_it(site)
        told = await reload(client, status)
        assert told["error"].startswith("Reloading config file failed. Check server logs for more info. - ")
        assert problem in told["error"]
        assert (await embed(client, "tiny")).status_code == 200
        assert await states(client) == {"tiny": ("AVAILABLE", "OK")}
        assert (await client.get("/v2/health/ready")).status_code == 200

    site.ask(scenario)
    [record] = caplog.records
    assert problem in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_broken_new_model_leaves_the_others_and_is_loaded_once_mended(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        site.add("new")
        weights = site.repository.folder / "new" / "openvino_model.bin"
        whole = weights.read_bytes()
        weights.write_bytes(b"not weights")
        await reload(client, 500)
        assert await states(client) == {"tiny": ("AVAILABLE", "OK"), "new": ("LOADING", "FAILED_PRECONDITION")}
        assert (await client.get("/v2/models/new/ready")).status_code == 503
        assert "cannot be loaded" in (await embed(client, "new")).json()["error"]["message"]
        weights.write_bytes(whole)
        await reload(client, 201)
        assert (await embed(client, "new")).status_code == 200
        weights.write_bytes(b"not weights")
        site.remove("new")
        await reload(client, 201)
        site.add_again("new")
        await reload(client, 500)
        site.remove("new")
        await reload(client, 200)
        assert (await embed(client, "new")).status_code == 404

    site.ask(scenario)


def test_a_folder_that_is_not_there_is_told_but_not_one_in_the_cloud(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        site.rewrite(lambda graphs: [*graphs, {"name": "far", "base_path": "s3://bucket/far"}])
        await reload(client, 200)
        site.add_again("mistyped")
        assert "mistyped holds no exported model" in (await reload(client, 400))["error"]
        assert await states(client) == {"tiny": ("AVAILABLE", "OK"), "mistyped": ("LOADING", "FAILED_PRECONDITION")}
        assert (await embed(client, "tiny")).status_code == 200

    site.ask(scenario)


def test_models_that_were_not_chosen_at_the_start_stay_out(models: ModelRepository) -> None:
    site = Site(models, "tiny")

    async def scenario(client: httpx.AsyncClient) -> None:
        site.add("new")
        await reload(client, 200)
        assert set(await states(client)) == {"tiny"}

    try:
        site.ask(scenario)
    finally:
        site.close()


def test_a_repository_without_models_is_served_until_it_has_some(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        site.remove("tiny")
        await reload(client, 201)
        assert (await client.post("/v1/embeddings", json={"input": "a"})).status_code == 503
        site.rewrite(lambda _: [{"name": "tiny", "base_path": "tiny"}])
        await reload(client, 201)
        assert (await embed(client, "tiny")).status_code == 200

    site.ask(scenario)
