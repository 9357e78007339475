"""The schema of one job: checks inputs at the door, binds them in the child, writes results."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, PydanticUndefined, core_schema

from offload.core import result, strict_json
from offload.core.errors import OffloadError, WrongInput
from offload.core.files import File
from offload.core.json_schema import holds_file, json_schema, json_types, jsonable_default
from offload.core.shapes import is_file, plain, written_by_value
from offload.core.signature import UNKNOWN, Parameter, Signature, default_of
from offload.core.sources import FileSource, Uploaded, map_leaves, pending_in, stand_in
from offload.core.task import Record

__all__ = ["Checked", "FileSource", "Schema", "Uploaded", "WrongResult"]

ERRORS_MAX = 100
"""A client learns from the first mistakes; a long list wrong in every entry must not become a huge answer."""


class WrongResult(OffloadError):
    """What a worker gives as the result is not what its job returns."""

    code = "WrongResult"

    def __init__(self, job: str, errors: Sequence[Mapping[str, Any]]) -> None:
        first = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'result'}: {e['message']}" for e in errors[:3])
        super().__init__(f"wrong result for job {job!r}: {first}" + ("; …" if len(errors) > 3 else ""))
        self.errors = list(errors)

    @property
    def fields(self) -> Mapping[str, Any]:
        return {"errors": self.errors}


class Checked(Record, frozen=True, kw_only=True):
    """An input that fits: its JSON, with null at the place of each file, and where the files come from."""

    input: bytes
    sources: tuple[FileSource, ...] = ()


class Schema:
    """What a job takes and gives. Built once; every method may be called from any thread."""

    input: dict[str, Any]
    """JSON Schema of the input object, complete in itself."""
    result: dict[str, Any] | None
    """JSON Schema of the result; None when the job does not say."""
    file_fields: tuple[str, ...]
    """Parameters that are files or hold files at any depth."""
    single_file: str | None
    """The one File parameter of a job with no other files: it may be sent as the raw body."""
    returns_file: bool

    def __init__(self, job: str, signature: Signature, *, is_generator: bool) -> None:
        self._job = job
        self._parameters = signature.parameters
        adapters = {p.name: TypeAdapter[Any](p.annotation) for p in signature.parameters}
        self._adapter: TypeAdapter[Any] = TypeAdapter(_object_of(signature.parameters, signature.takes_more))
        self._validator = self._adapter.validator
        self.input = {**json_schema(self._adapter, "validation"), "additionalProperties": signature.takes_more}
        _show_defaults(self.input, signature.parameters)
        self._types = {p.name: json_types(self.input["properties"][p.name], self.input) for p in signature.parameters}
        self.file_fields = tuple(name for name, adapter in adapters.items() if holds_file(adapter.core_schema))
        bare = [p.name for p in signature.parameters if plain(p.annotation) == (File,)]
        self.single_file = bare[0] if len(bare) == 1 == len(self.file_fields) else None
        self._read_result(signature.returns, is_generator=is_generator)

    def check_json(self, job: str, body: bytes) -> Checked:
        """Check a JSON object; without files in it, it is kept as it was sent."""
        try:
            value = strict_json.loads(body)
        except ValueError as error:
            raise WrongInput(job, [{"loc": [], "message": str(error)}]) from None
        if type(value) is not dict:
            raise WrongInput(job, [{"loc": [], "message": "the input is a JSON object with the parameters by name"}])
        if self.file_fields:
            return self._check_with_files(job, value)
        try:
            self._validator.validate_json(body)
        except Exception as error:  # the user's own validators may raise anything
            raise self._wrong(job, error, value) from None
        return Checked(input=body)

    def check_values(self, job: str, values: Mapping[str, object]) -> Checked:
        """Check Python values, among them `Uploaded` where a file was sent along."""
        if self.file_fields:
            return self._check_with_files(job, {name: self._fitted(name, value) for name, value in values.items()})
        _refuse_uploads(job, values)
        try:
            body = strict_json.dumps(dict(values))
        except ValueError as error:
            raise WrongInput(job, [{"loc": [], "message": str(error)}]) from None
        return self.check_json(job, body)

    def from_text(self, fields: Sequence[tuple[str, str]]) -> dict[str, object]:
        """Return form or query fields as values: lists and JSON where a parameter wants them, else text."""
        texts: dict[str, list[str]] = {}
        for name, text in fields:
            texts.setdefault(name, []).append(text)
        return {name: self._from_texts(name, found) for name, found in texts.items()}

    def bind(self, input: bytes, files: Mapping[str, File]) -> dict[str, Any]:
        """Return the keyword arguments of a checked input, with each file at its path."""
        value = msgspec.json.decode(input)
        try:
            if self.file_fields:
                value = map_leaves(value, lambda place, leaf: files.get(place, leaf) if leaf is None else leaf)
                arguments = self._validator.validate_python(value)
            else:
                arguments = self._validator.validate_json(input)
        except Exception as error:  # the user's own validators may raise anything
            raise self._wrong(self._job, error, value) from None
        assert isinstance(arguments, dict)
        return arguments

    def check_result(self, body: bytes) -> None:
        """Check the JSON of a result that was made elsewhere. Raise WrongResult."""
        try:
            strict_json.loads(body)
            if self._result_adapter is not None:
                self._result_adapter.validate_json(body, strict=True)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)[:ERRORS_MAX]
            raise WrongResult(
                self._job, [{"loc": list(each["loc"]), "message": each["msg"]} for each in found]
            ) from None
        except Exception as error:  # the user's own validators may raise anything
            raise WrongResult(self._job, [{"loc": [], "message": str(error)}]) from None

    def dump_result(self, value: object) -> bytes:
        """Return a result as JSON; raise ValueError that says where and what cannot be written."""
        return result.dump(self._result_adapter, value)

    def dump_output(self, value: object) -> bytes:
        """Return one yielded value as JSON; raise ValueError as `dump_result`."""
        return result.dump(self._output_adapter, value)

    def _read_result(self, returns: Any, *, is_generator: bool) -> None:
        branches = plain(returns)
        self.returns_file = returns is not UNKNOWN and any(is_file(found) for found in branches)
        self._output_adapter = self._result_adapter = None
        self.result = {"type": "array"} if is_generator else None
        if self.returns_file:
            self.result = {"type": "string", "format": "binary"}
        elif returns is not UNKNOWN and not any(written_by_value(found) for found in branches):
            self._output_adapter = TypeAdapter(returns)
            self._result_adapter = TypeAdapter(list[returns]) if is_generator else self._output_adapter
            self.result = json_schema(self._result_adapter, "serialization")

    def _check_with_files(self, job: str, value: dict[str, Any]) -> Checked:
        placed = map_leaves(value, stand_in)
        try:
            checked = self._validator.validate_python(placed)
        except Exception as error:  # the user's own validators may raise anything
            raise self._wrong(job, error, value) from None
        sources = {source.field: source for source in pending_in(checked)}
        blank = map_leaves(value, lambda place, leaf: None if place in sources else leaf)
        _refuse_uploads(job, blank)
        try:
            return Checked(input=strict_json.dumps(blank), sources=tuple(sources.values()))
        except ValueError as error:
            raise WrongInput(job, [{"loc": [], "message": str(error)}]) from None

    def _fitted(self, name: str, value: object) -> object:
        """Make a list of a single upload for a list of files: a form cannot tell the two apart."""
        return [value] if isinstance(value, Uploaded) and self._types.get(name) in (_LIST, _LIST | _NULL) else value

    def _from_texts(self, name: str, texts: list[str]) -> object:
        types = self._types.get(name, _TEXT)
        values = [self._from_text(text, types) for text in texts]
        if len(values) > 1:
            return values
        if "array" in types and not types & _TEXT and not isinstance(values[0], list) and values[0] is not None:
            return values
        return values[0]

    def _from_text(self, text: str, types: frozenset[str]) -> object:
        if "string" in types:
            return text
        if not text and "null" in types:
            return None  # what a form sends for a field left empty
        if text.lstrip()[:1] in ("{", "[") and (not types or types & _STRUCTURES):
            try:
                return strict_json.loads(text.encode())
            except ValueError:
                return text
        return text

    def _wrong(self, job: str, error: Exception, value: Any) -> WrongInput:
        if not isinstance(error, ValidationError):
            return WrongInput(job, [{"loc": [], "message": f"it cannot be checked: {type(error).__name__}: {error}"}])
        known = [parameter.name for parameter in self._parameters]
        found: list[dict[str, Any]] = []
        for one in error.errors(include_url=False, include_input=False, include_context=False):
            mistake = _mistake(one, value, known)
            if mistake not in found[-8:]:  # branches of a union often say the same
                found.append(mistake)
            if len(found) == ERRORS_MAX and error.error_count() > ERRORS_MAX:
                found.append({"loc": [], "message": f"and more; the first {ERRORS_MAX} mistakes are listed"})
                break
        return WrongInput(job, found)


_LIST, _NULL, _TEXT = frozenset({"array"}), frozenset({"null"}), frozenset({"string"})
_STRUCTURES = frozenset({"array", "object"})


def _object_of(parameters: list[Parameter], takes_more: bool) -> type:
    """Return a type that pydantic reads as an object of these parameters, whatever their names; of others too."""

    class Input:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
            wanted = {
                p.name: core_schema.typed_dict_field(handler.generate_schema(p.annotation), required=p.required)
                for p in parameters
            }
            return core_schema.typed_dict_schema(wanted, extra_behavior="allow" if takes_more else "forbid")

    return Input


def _show_defaults(schema: dict[str, Any], parameters: list[Parameter]) -> None:
    schema.setdefault("properties", {})
    for parameter in parameters:
        default = default_of(parameter)
        if default is not PydanticUndefined and not isinstance(default, File):
            for shown in jsonable_default(default):
                schema["properties"][parameter.name]["default"] = shown


def _refuse_uploads(job: str, values: Any) -> None:
    extra: list[str] = []
    map_leaves(values, lambda place, leaf: extra.append(place) if isinstance(leaf, Uploaded) else None)
    if extra:
        raise WrongInput(job, [{"loc": place.split("."), "message": "this parameter takes no file"} for place in extra])


def _mistake(error: Any, value: Any, known: list[str]) -> dict[str, Any]:
    """Return one mistake with its path in the input; pydantic's own path also names branches of unions."""
    loc: list[str | int] = []
    inside = value
    parts = error["loc"]
    for index, part in enumerate(parts):
        is_key = isinstance(inside, dict) and part in inside
        if is_key or (isinstance(inside, list) and isinstance(part, int) and part < len(inside)):
            inside = inside[part]
        elif not (index == len(parts) - 1 and error["type"] == "missing"):
            continue
        loc.append(part[:200] if isinstance(part, str) else part)
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if error["type"] == "extra_forbidden" and len(loc) == 1:
        near = difflib.get_close_matches(str(loc[0]), known, 1)
        message = "there is no such parameter" + (f"; did you mean {near[0]!r}?" if near else "")
    return {"loc": loc, "message": message}
