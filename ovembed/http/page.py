"""An OpenAPI document as a page that needs nothing else: no script, no other file, no other host."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from starlette.responses import Response

    Schema = Mapping[str, Any]
    Operation = tuple[str, str, Mapping[str, Any]]

_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "minLength": "characters at least",
    "minItems": "items at least",
    "maxItems": "items at most",
    "default": "default",
    "pattern": "pattern",
}


def page(document: Mapping[str, Any]) -> Response:
    """The page, under a Content-Security-Policy that forbids whatever it does not need.

    Each operation of the document has tags, an operationId, a summary, parameters, x-codeSamples, and headers at each
    of its responses.
    """
    return HTMLResponse(_render(document), headers={"Content-Security-Policy": _POLICY})


def _render(document: Mapping[str, Any]) -> str:
    info, schemas = document["info"], document["components"]["schemas"]
    sections = {tag["name"]: list(_operations(document, tag["name"])) for tag in document["tags"]}
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(info["title"])}</title>
<style>{_STYLE}</style>
<div class="layout">
<nav>{"".join(_links(tag, operations) for tag, operations in sections.items())}{_schema_links(schemas)}</nav>
<main>
<h1>{escape(info["title"])} <small>{escape(info["version"])}</small></h1>
<p>{escape(info["description"])}</p>
<p>For machines: <a href="openapi.json">openapi.json</a></p>
{"".join(_section(tag, operations) for tag, operations in sections.items())}
<h2 id="schemas">Schemas</h2>
{"".join(_component(name, schema) for name, schema in schemas.items())}
</main>
</div>
</html>
"""


def _operations(document: Mapping[str, Any], tag: str) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield method, path, operation


def _links(tag: str, operations: Iterable[Operation]) -> str:
    items = "".join(
        f'<li>{_method(method)} <a href="#{operation["operationId"]}">{escape(path)}</a>'
        for method, path, operation in operations
    )
    return f"<b>{escape(tag)}</b><ul>{items}</ul>"


def _schema_links(schemas: Iterable[str]) -> str:
    items = "".join(f"<li>{_reference(name)}" for name in schemas)
    return f"<b>Schemas</b><ul>{items}</ul>"


def _section(tag: str, operations: Iterable[Operation]) -> str:
    return f"<h2>{escape(tag)}</h2>" + "".join(_article(*operation) for operation in operations)


def _article(method: str, path: str, operation: Mapping[str, Any]) -> str:
    about = operation.get("description", "") + (" Needs a key." if "security" in operation else "")
    samples = "".join(f"<pre>{escape(sample['source'])}</pre>" for sample in operation["x-codeSamples"])
    return f"""<article id="{operation["operationId"]}">
<h3>{_method(method)} <code>{escape(path)}</code> <span class="quiet">{escape(operation["summary"])}</span></h3>
<p>{_marked(about)}</p>{samples}
<details><summary>Request and replies</summary>
{_parameters(operation["parameters"])}{_body(operation.get("requestBody"))}{_replies(operation["responses"])}
</details>
</article>
"""


def _method(method: str) -> str:
    return f'<span class="method {method}">{method.upper()}</span>'


def _parameters(parameters: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (f"<code>{escape(each['name'])}</code>", f"in the {each['in']}: {_value(each['schema'])}")
        for each in parameters
        if "schema" in each
    ]
    return f"<h4>Parameters</h4>{_table(rows)}" if rows else ""


def _body(body: Mapping[str, Any] | None) -> str:
    return f"<h4>Body</h4>{_contents(body['content'])}" if body else ""


def _replies(responses: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for status, reply in responses.items():
        told = "<br>".join(_marked(line) for line in reply["description"].splitlines())
        content = _contents(reply["content"]) if "content" in reply else "No body."
        headers = ", ".join(f"<code>{escape(name)}</code>" for name in reply["headers"])
        rows.append((f"<b>{status}</b>", f'{told}<br>{content}<br><span class="quiet">With {headers}</span>'))
    return f"<h4>Replies</h4>{_table(rows)}"


def _contents(content: Mapping[str, Mapping[str, Any]]) -> str:
    return "<br>".join(
        f"<code>{escape(media_type)}</code> {_value(told['schema']) if 'schema' in told else ''}"
        for media_type, told in content.items()
    )


def _component(name: str, schema: Schema) -> str:
    return f'<article id="{escape(name)}"><h3><code>{escape(name)}</code></h3>{_value(schema)}</article>'


def _value(schema: Schema) -> str:
    """What a schema allows, in words; an object as a table of its fields."""
    limits = ", ".join(f"{words} {_literal(schema[name])}" for name, words in _LIMITS.items() if name in schema)
    parts = [
        _kind(schema),
        f'<span class="quiet">({limits})</span>' if limits else "",
        f"<br>{escape(schema['description'])}" if "description" in schema else "",
        _fields(schema) if "properties" in schema else "",
    ]
    return " ".join(filter(None, parts))


def _kind(schema: Schema) -> str:
    if "$ref" in schema:
        return _reference(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " or ".join(map(_literal, schema["enum"]))
    if "const" in schema:
        return _literal(schema["const"])
    if "anyOf" in schema:
        return " or ".join(map(_value, schema["anyOf"]))
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_value(schema['items'])}"
    kinds = schema.get("type", "anything")
    return " or ".join([kinds] if isinstance(kinds, str) else kinds)


def _fields(schema: Schema) -> str:
    required = schema.get("required", ())
    return _table(
        (f"<code>{escape(name)}</code>{'' if name in required else ' <span class=quiet>?</span>'}", _value(field))
        for name, field in schema["properties"].items()
    )


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return f"<table>{''.join(f'<tr><td>{name}<td>{told}' for name, told in rows)}</table>"


def _reference(name: str) -> str:
    return f'<a href="#{escape(name)}">{escape(name)}</a>'


def _literal(value: object) -> str:
    return f"<code>{escape(orjson.dumps(value).decode())}</code>"


def _marked(line: str) -> str:
    """`code` in a line of a description."""
    parts = line.split("`")
    return "".join(f"<code>{escape(part)}</code>" if odd % 2 else escape(part) for odd, part in enumerate(parts))
