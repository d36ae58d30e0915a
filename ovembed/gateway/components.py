"""Which backend the gateway stands in front of: a component of OPEA's by its name, or `local`. Chosen here only."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ovembed.errors import InputError
from ovembed.gateway import ovms, tei
from ovembed.gateway.oauth import ClientCredentials
from ovembed.gateway.upstream import Upstream, UpstreamSettings
from ovembed.targets import DEFAULT_REPOSITORY, find_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ovembed.errors import OvembedError
    from ovembed.gateway.backend import Backend
    from ovembed.gateway.oauth import Credentials
    from ovembed.gateway.upstream import UpstreamObserver

DEFAULT_COMPONENT = "OPEA_TEI_EMBEDDING"
DEFAULT_ENDPOINT = "http://localhost:8080"


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """model: its name at the backend, or in the repository; only OVMS must be told.

    key: bearer key for the backend; hf_token: the same, for TEI only; credentials, which come first: for a token in
    its place. trust_token_ids: send ids to OVMS without a check. repository, streams, threads: for the engine in this
    process.
    """

    component: str = DEFAULT_COMPONENT
    ovms_endpoint: str = DEFAULT_ENDPOINT
    tei_endpoint: str = DEFAULT_ENDPOINT
    model: str | None = None
    key: str | None = None
    hf_token: str | None = None
    credentials: Credentials | None = None
    trust_token_ids: bool = False
    upstream: UpstreamSettings = field(default_factory=UpstreamSettings)
    repository: Path = Path(DEFAULT_REPOSITORY)
    streams: int | None = None
    threads: int | None = None


def open_backend(settings: BackendSettings, observer: UpstreamObserver) -> Backend:
    """The backend; nothing is asked of it yet, but a local model is loaded and warm.

    Raises InputError for settings that cannot be used, ModelNotFound, RepositoryError or EngineError for a local model.
    """
    if settings.component not in _COMPONENTS:
        raise InputError(
            f"There is no component '{settings.component}' here. EMBEDDING_COMPONENT_NAME can be: "
            f"{', '.join(_COMPONENTS)}."
        )
    return _COMPONENTS[settings.component](settings, observer)


def ignored_variables(environment: Mapping[str, str]) -> list[str]:
    """What the original does by its environment and the gateway does not, in a line for each variable that asks for it.

    Source: comps/cores/telemetry and comps/embeddings/src/entrypoint.sh of https://github.com/opea-project/GenAIComps
    """
    told = []
    if environment.get("TELEMETRY_ENDPOINT"):
        told.append("TELEMETRY_ENDPOINT is ignored: no traces are sent. GET /metrics tells how the gateway is doing.")
    if environment.get("MULTIMODAL_EMBEDDING", "").lower() == "true":
        told.append("MULTIMODAL_EMBEDDING is ignored: texts are embedded, images are not.")
    return told


def _open_ovms(settings: BackendSettings, observer: UpstreamObserver) -> Backend:
    if not settings.model:
        raise InputError("The name of the model at the backend is missing. Give it by --model or MODEL_ID.")
    own_error = functools.partial(ovms.own_error, settings.model)
    upstream = _upstream(settings.ovms_endpoint, settings.key, own_error, settings, observer)
    return ovms.OvmsBackend(upstream, settings.model, trust_token_ids=settings.trust_token_ids)


def _open_tei(settings: BackendSettings, observer: UpstreamObserver) -> Backend:
    key = settings.key or settings.hf_token
    return tei.TeiBackend(_upstream(settings.tei_endpoint, key, tei.own_error, settings, observer), settings.model)


def _open_local(settings: BackendSettings, _observer: UpstreamObserver) -> Backend:
    from ovembed.engine import EngineSettings, default_cache_dir  # noqa: PLC0415  openvino loads only for a model
    from ovembed.gateway.local import LocalBackend  # noqa: PLC0415
    from ovembed.serving.loading import load_model  # noqa: PLC0415

    entry = find_model(settings.model, settings.repository)
    engine = EngineSettings(settings.streams, settings.threads, cache_dir=default_cache_dir(), low_latency=True)
    return LocalBackend(load_model(entry, engine))


_COMPONENTS: Mapping[str, Callable[[BackendSettings, UpstreamObserver], Backend]] = {
    "OPEA_OVMS_EMBEDDING": _open_ovms,
    "OPEA_TEI_EMBEDDING": _open_tei,
    "local": _open_local,
}


def _upstream(
    endpoint: str,
    key: str | None,
    own_error: Callable[[int, str], OvembedError | None],
    settings: BackendSettings,
    observer: UpstreamObserver,
) -> Upstream:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    auth = ClientCredentials(settings.credentials) if settings.credentials else None
    return Upstream(endpoint, settings.upstream, observer, own_error, headers=headers, auth=auth)
