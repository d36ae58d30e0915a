"""Which server answers at a URL, and where each kind says how it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

_OVMS_NAME = "OpenVINO Model Server"
_OURS = "ovembed"
_GATEWAY_TITLE = "opea_service@embedding"


@dataclass(frozen=True, slots=True)
class Kind:
    """`name` as it is told to people. Routes are None where there is no such one.

    live and ready: routes that answer with a status alone. per_model: there are KServe v2's routes for each model.
    api: where the API stands unless the URL says so. parts: a model may stand on others, as a classic OVMS graph does.
    one_model: what to call the only model of a server that does not care for its name.
    """

    name: str
    live: str | None = None
    ready: str | None = None
    per_model: bool = False
    api: str = "/v1"
    parts: bool = False
    one_model: str | None = None


def identify(get: Callable[[str], httpx.Response]) -> Kind:
    """By what its routes tell of it; `get` asks for a path from the root. Raises what `get` does."""
    about = _fields(get("/v2"))
    if about.get("name") == _OVMS_NAME:
        return Kind(f"{_OVMS_NAME} {about.get('version', '')}".strip(), **_KSERVE, api="/v3", parts=True)
    if about.get("name") == _OURS:
        return Kind(f"{_OURS} {about.get('version', '')}".strip(), **_KSERVE)
    if _fields(get("/v1/health_check")).get("Service Title") == _GATEWAY_TITLE:
        return Kind("OPEA embedding gateway", live="/v1/health_check", one_model="its model")
    info = _fields(get("/info"))
    if "model_id" in info and "max_client_batch_size" in info:
        return Kind("text-embeddings-inference", live="/health", ready="/health", one_model=str(info["model_id"]))
    return Kind("an OpenAI-compatible endpoint")


_KSERVE: dict[str, Any] = {"live": "/v2/health/live", "ready": "/v2/health/ready", "per_model": True}


def _fields(response: httpx.Response) -> dict[str, Any]:
    try:
        content = orjson.loads(response.content) if response.is_success else {}
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}
