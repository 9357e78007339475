"""The texts and files of a form as the parameters of a job."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from offload.core.errors import WrongInput
from offload.core.job import Job
from offload.core.sources import Uploaded
from offload.core.task import FileRef

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


def form_values(job: Job, fields: Sequence[tuple[str, str]], files: Sequence[FileRef]) -> dict[str, object]:
    """Return the parameters: each text as its parameter wants it, and a mark for each uploaded file."""
    properties: Mapping[str, Any] = job.schema.input.get("properties", {})
    values = {name: _told(value, properties.get(name, {})) for name, value in job.schema.from_text(fields).items()}
    for index, file in enumerate(files):
        name = file.field
        here = values.get(name)
        if any(way.get("type") == "array" for way in _ways(properties.get(name, {}))):
            values[name] = [*(here if isinstance(here, list) else [] if here is None else [here]), Uploaded(index)]
        elif name in values:
            raise WrongInput(job.name, [{"loc": [name], "message": "is given more than once"}])
        else:
            values[name] = Uploaded(index)
    return values


def _told(value: object, schema: Mapping[str, Any]) -> object:
    """Return a number or truth value where a text says one and nothing but that is wanted; the task shows it so."""
    if isinstance(value, list):
        items: Mapping[str, Any] = next(
            (way.get("items", {}) for way in _ways(schema) if way.get("type") == "array"), {}
        )
        return [_told(one, items) for one in value]
    if not isinstance(value, str):
        return value
    types = {way.get("type") for way in _ways(schema)} - {"null"}
    if types == {"integer"} and _INTEGER.fullmatch(value):
        return int(value)
    if types and types <= {"integer", "number"} and _NUMBER.fullmatch(value):
        return int(value) if _INTEGER.fullmatch(value) else float(value)
    return _BOOLEANS.get(value, value) if types == {"boolean"} else value


def _ways(schema: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return schema.get("anyOf") or (schema,)
