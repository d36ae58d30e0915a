"""Where the description is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovembed.http.page import page
from ovembed.http.replies import json_response
from ovembed.server.openapi.described import Described, Offer, Reply
from ovembed.server.openapi.document import document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from starlette.requests import Request
    from starlette.responses import Response

    from ovembed.http.application import Application
    from ovembed.server.openapi.described import Schema
    from ovembed.serving.models import ServedModel


def describe(app: Application, models: Mapping[str, ServedModel], *, secured: bool) -> None:
    """Add /openapi.json and /docs, which tell all described routes and `models` as they are when it is asked.

    `secured`: whether POST needs a key.
    """

    def current(request: Request) -> dict[str, Any]:
        described = [route for route in app.routes if isinstance(route, Described)]
        return document(described, Offer.of(models), server=str(request.base_url), secured=secured)

    async def as_json(request: Request) -> Response:
        return json_response(current(request))

    async def as_page(request: Request) -> Response:
        return page(current(request))

    app.routes.extend(
        [
            Described(
                "/openapi.json",
                as_json,
                tag="Server",
                summary="This description, for machines",
                replies=[Reply(200, "An OpenAPI document.", _document)],
            ),
            Described(
                "/docs",
                as_page,
                tag="Server",
                summary="This description, for people",
                replies=[Reply(200, "A page that needs nothing else.", media_type="text/html")],
            ),
        ]
    )


def _document(_offer: Offer) -> Schema:
    return {"type": "object", "required": ["openapi", "info", "paths"]}
