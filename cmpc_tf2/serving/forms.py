"""The description of the interface, by OpenAPI 3.0, which Swagger UI reads; and checks of forms against it."""

import collections
import reprlib

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError

from cmpc_tf2.serving.segmenter import RequestError

_FORM = "multipart/form-data"


def describe(app: FastAPI):
    """Makes the description of an application with all its routes."""
    app.openapi_version = "3.0.3"
    description = _as_version_3_0(app.openapi())
    schemas = description["components"]["schemas"]
    for path in description["paths"].values():
        for operation in path.values():
            form = operation.get("requestBody", {}).get("content", {}).get(_FORM)
            if form:
                fields = schemas[form["schema"]["$ref"].split("/")[-1]]["properties"]
                # Otherwise Swagger UI sends all values of a list as one.
                lists = [name for name, field in fields.items() if field["type"] == "array"]
                form["encoding"] = {name: {"style": "form", "explode": True} for name in lists}
    app.openapi = lambda: description


def _as_version_3_0(value):
    """A part of a description by OpenAPI 3.1, which FastAPI writes, in the terms of 3.0."""
    if isinstance(value, list):
        return [_as_version_3_0(part) for part in value]
    if not isinstance(value, dict):
        return value
    value = {name: _as_version_3_0(part) for name, part in value.items()}
    if value.pop("contentMediaType", None):
        value["format"] = "binary"
    if "prefixItems" in value:
        value["items"] = value.pop("prefixItems")[0]
    if {"type": "null"} in value.get("anyOf", []):
        value["nullable"] = True
        value["anyOf"].remove({"type": "null"})
        if len(value["anyOf"]) == 1:
            value |= value.pop("anyOf")[0]
    return value


def fields_of(request: Request) -> dict[str, dict]:
    """The fields that the form of a request may have, each with its schema."""
    description = request.app.openapi()
    schema = description["paths"][request.scope["path"]]["post"]["requestBody"]["content"][_FORM]["schema"]
    return description["components"]["schemas"][schema["$ref"].split("/")[-1]]["properties"]


async def require_known_fields(request: Request):
    """A dependency of FastAPI that checks the names in a form.

    Raises:
        RequestError: A field is unknown, or is given more than once and is no list.
    """
    fields = fields_of(request)
    counts = collections.Counter(name for name, _ in (await request.form()).multi_items())
    for name, count in counts.items():
        if name not in fields:
            name = reprlib.repr(name)[1:-1]
            raise RequestError(422, f"{name}: no such field; expected {', '.join(fields)}", name)
        if count > 1 and fields[name]["type"] != "array":
            raise RequestError(422, f"{name}: expected one, found {count}", name)


def explain_invalid(request: Request, error: RequestValidationError) -> RequestError:
    """The first reason why FastAPI refuses a form."""
    first = error.errors()[0]
    name = first["loc"][1]
    expected = _describe(fields_of(request)[name])
    if first["type"] == "missing":
        return RequestError(422, f"{name}: missing; expected {expected}", name)
    found = first["input"]
    if not isinstance(found, str):
        found = "a file"
    elif expected == "a file":
        found = "text (curl sends a file for -F name=@FILE)"
    else:
        found = reprlib.repr(found)
    return RequestError(422, f"{name}: expected {expected}, found {found}", name)


def _describe(field: dict) -> str:
    """What a field expects, in words."""
    if field.get("format") == "binary":
        return "a file"
    if "enum" in field:
        return f"{', '.join(field['enum'][:-1])} or {field['enum'][-1]}"
    if field["type"] == "number":
        return f"a number from {field['minimum']:g} to {field['maximum']:g}"
    return {"boolean": "true or false", "array": "text, in one field for each"}[field["type"]]
