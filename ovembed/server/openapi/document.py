"""The OpenAPI 3.1 document of described routes. Format: https://spec.openapis.org/oas/v3.1.1.html."""

from __future__ import annotations

import re
import shlex
from http import HTTPStatus
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import orjson

from ovembed import __version__
from ovembed.http.observed import REQUEST_ID
from ovembed.http.replies import HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ovembed.server.openapi.described import Described, Offer, Reply, Schema

_ABOUT = (
    "Embeddings of OpenVINO models, in the dialects of OpenAI, OpenVINO Model Server (OVMS) and Text Embeddings "
    "Inference (TEI). Errors have the form of the route's dialect. JSON is read whatever the content type says; "
    "fields of requests that are not described are ignored."
)

_TEXT: Schema = {"type": "string"}
_HEADERS: Mapping[str, tuple[str, Schema]] = {
    REQUEST_ID: ("The request's id, its own if it had one.", _TEXT),
    "Retry-After": ("Seconds after which to try again.", {"type": "integer", "minimum": 0}),
    "X-Ovembed-Warning": ("What the caller may not expect of the vectors.", _TEXT),
    "X-Ovembed-Fingerprint": ("The model's fingerprint: vectors may be compared only where it is equal.", _TEXT),
    "x-compute-tokens": ("Tokens of all inputs.", {"type": "integer", "minimum": 0}),
    "WWW-Authenticate": ("How to send a key.", _TEXT),
}
_KEY = "key"
_REQUEST_ID_PARAMETER = "RequestId"


def document(routes: Sequence[Described], offer: Offer, *, server: str, secured: bool) -> dict[str, Any]:
    """`server`: the URL at which clients reach the routes. `secured`: whether POST needs a key."""
    components = _Components()
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(route, offer, components, server=server, secured=secured)
        paths.setdefault(route.shown, {})[route.method.lower()] = operation
    schemes = {_KEY: {"type": "http", "scheme": "bearer", "description": "One of the keys of the server's file."}}
    return {
        "openapi": "3.1.1",
        "info": {"title": "ovembed", "version": __version__, "description": _ABOUT},
        "servers": [{"url": server}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            "headers": {name: {"description": told, "schema": schema} for name, (told, schema) in _HEADERS.items()},
            "parameters": {
                _REQUEST_ID_PARAMETER: {
                    "name": REQUEST_ID,
                    "in": "header",
                    "schema": _TEXT,
                    "description": "An id to find the request by, in the reply and in the server's log.",
                }
            },
            **({"securitySchemes": schemes} if secured else {}),
        },
    }


class _Components:
    """Schemas that have a title, by it."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}

    def hoist(self, schema: Any) -> Any:
        """The same with references in place of what has a title."""
        if isinstance(schema, list):
            return [self.hoist(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        hoisted = {name: self.hoist(value) for name, value in schema.items()}
        title = hoisted.get("title")
        if not isinstance(title, str):
            return hoisted
        if self.schemas.setdefault(title, hoisted) != hoisted:
            raise ValueError(f"Two schemas have the title {title}. This is a bug.")
        return {"$ref": f"#/components/schemas/{title}"}


def _operation(
    route: Described, offer: Offer, components: _Components, *, server: str, secured: bool
) -> dict[str, Any]:
    body = route.body(offer) if route.body else None
    parameters = {name: schema(offer) for name, schema in route.parameters.items()}
    needs_key = secured and route.method == "POST"
    operation: dict[str, Any] = {
        "tags": [route.tag],
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.shown}").strip("_"),
        "summary": route.summary,
        **({"description": route.about} if route.about else {}),
        "parameters": [
            *(_parameter(name, schema, in_path=name in route.param_convertors) for name, schema in parameters.items()),
            {"$ref": f"#/components/parameters/{_REQUEST_ID_PARAMETER}"},
        ],
        "responses": _responses(
            [reply for reply in route.replies if needs_key or reply.status != HTTPStatus.UNAUTHORIZED],
            offer,
            components,
        ),
        "x-codeSamples": [{"lang": "Shell", "source": _curl(route, body, parameters, server, needs_key=needs_key)}],
    }
    if body is not None:
        content = {"application/json": {"schema": components.hoist(body)}}
        operation["requestBody"] = {"required": True, "content": content}
    if needs_key:
        operation["security"] = [{_KEY: []}]
    return operation


def _parameter(name: str, schema: Schema, *, in_path: bool) -> dict[str, Any]:
    return {"name": name, "in": "path" if in_path else "query", "required": in_path, "schema": schema}


def _responses(replies: Iterable[Reply], offer: Offer, components: _Components) -> dict[str, Any]:
    by_status = groupby(sorted(replies, key=attrgetter("status")), attrgetter("status"))
    return {str(status): _response(status, list(same), offer, components) for status, same in by_status}


def _response(status: int, replies: Sequence[Reply], offer: Offer, components: _Components) -> dict[str, Any]:
    special = [name for reply in replies for name in reply.headers]
    by_status = [name for name in HEADERS.get(status, ()) if name in _HEADERS]
    names = dict.fromkeys([REQUEST_ID, *by_status, *special])
    content = {
        reply.media_type: {"schema": components.hoist(reply.schema(offer))} if reply.schema else {}
        for reply in replies
        if reply.media_type
    }
    return {
        "description": "\n".join(dict.fromkeys(reply.about for reply in replies)),
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        **({"content": content} if content else {}),
    }


def _curl(
    route: Described, body: Schema | None, parameters: Mapping[str, Schema], server: str, *, needs_key: bool
) -> str:
    """A request that the server answers."""
    path = route.shown
    for name in route.param_convertors:
        path = path.replace(f"{{{name}}}", quote(_example(parameters[name])) if name in parameters else "")
    query = {
        name: _example(schema)
        for name, schema in parameters.items()
        if name not in route.param_convertors and "examples" in schema
    }
    words = ["curl", server.rstrip("/") + path + ("?" + urlencode(query) if query else "")]
    if needs_key:
        words += ["-H", "Authorization: Bearer KEY"]
    if body is not None:
        words += ["-H", "Content-Type: application/json", "-d", orjson.dumps(body["examples"][0]).decode()]
    elif route.method != "GET":
        words += ["-X", route.method]
    return shlex.join(words)


def _example(schema: Schema) -> str:
    """NAME where no model is served."""
    choices = schema.get("enum") or schema.get("examples") or ["NAME"]
    return str(choices[0])
