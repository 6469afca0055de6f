"""Answers held against the description of the routes, which is /openapi.json."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import httpx
import jsonschema_rs
import msgspec

from arriero.worker.apis.openapi import document, pages

JSON = "application/json"

# Written with what it is a template of: longer ones first, so that the most special one is found.
PATHS = sorted(((it.pattern, it) for it in pages()), key=lambda pair: -len(pair[1].path))


def mistakes(
    method: str, target: str, status: int, fields: Iterable[tuple[str, str]], body: bytes
) -> list[str]:
    """Return in which way an answer is not as it is described.

    What is asked where no page is, or in a way that it does not have, is not described.
    """
    path = target.partition("?")[0]
    there = [it for pattern, it in PATHS if pattern.fullmatch(path.encode())]
    asked = "GET" if method == "HEAD" else method
    route = next((it for it in there if asked in it.methods), None)
    if route is None:
        return []
    where = f"{method} {target} -> {status}"
    described = _responses(route.path, asked).get(str(status))
    if described is None:
        return [f"{where}: this status is not described"]
    names = {name.lower(): value for name, value in fields}
    kind = names.get("content-type", "")
    content = _resolved(described).get("content", {})
    if kind not in content:
        return [f"{where}: {kind!r} is not described, only {sorted(content)}"]
    if kind != JSON or method == "HEAD":
        return []
    validator = _validator(msgspec.json.encode(content[kind]["schema"]))
    return [f"{where}: {error}" for error in validator.iter_errors(msgspec.json.decode(body))]


def is_as_described(response: httpx.Response) -> None:
    """Fail if an answer is not as it is described; a hook of httpx's clients."""
    asked = response.request
    found = mistakes(
        asked.method,
        asked.url.raw_path.decode(),
        response.status_code,
        response.headers.multi_items(),
        response.read(),
    )
    assert found == []


@cache
def _document() -> dict[str, Any]:
    return document(has_keys=True)


def _responses(path: str, method: str) -> dict[str, Any]:
    found = _document()["paths"][re.sub(r"\.\.\.", "", path)][method.lower()]["responses"]
    assert isinstance(found, dict)
    return found


def _resolved(response: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in response:
        return response
    found = _document()["components"]["responses"][response["$ref"].rpartition("/")[2]]
    assert isinstance(found, dict)
    return found


@cache
def _validator(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    whole = msgspec.json.decode(schema, type=dict[str, Any])
    return jsonschema_rs.Draft202012Validator(whole | {"components": _document()["components"]})
