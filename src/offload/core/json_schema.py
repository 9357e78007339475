"""JSON Schema (2020-12) of a job's input and result: complete in itself, so that it fits into any document."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import to_jsonable_python

from offload.core.files import MARK


def json_schema(adapter: TypeAdapter[Any], mode: JsonSchemaMode) -> dict[str, Any]:
    """Return the schema with every definition written where it is used; only recursive ones stay in `$defs`."""
    schema = adapter.json_schema(mode=mode, schema_generator=_Untitled)
    definitions = schema.pop("$defs", {})
    recursive = {name for name in definitions if _reaches(name, definitions[name], definitions)}
    whole = _inlined(schema, definitions, recursive)
    assert isinstance(whole, dict)
    kept = {name: _inlined(definitions[name], definitions, recursive) for name in sorted(recursive)}
    used = _refs(whole) | {ref for name in kept for ref in _refs(kept[name])}
    kept = {name: kept[name] for name in kept if name in used}
    return {**whole, "$defs": kept} if kept else whole


def placed(schema: Mapping[str, Any], pointer: str) -> dict[str, Any]:
    """Return the schema for use at `pointer` of a larger document, as in `#/components/schemas/resize`."""
    moved = _rebased(schema, pointer)
    assert isinstance(moved, dict)
    return moved


def json_types(schema: Mapping[str, Any], root: Mapping[str, Any]) -> frozenset[str]:
    """Return the JSON types that a schema takes; none means any."""
    if "$ref" in schema:
        return json_types(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return frozenset().union(*(json_types(branch, root) for branch in schema[key]))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return frozenset(_type_name(value) for value in values)
    found = schema.get("type", ())
    return frozenset([found] if isinstance(found, str) else found)


def jsonable_default(value: object) -> tuple[Any, ...]:
    """Return the default as JSON in a tuple of one, or nothing when it has no JSON form."""
    try:
        return (to_jsonable_python(value, by_alias=True),)
    except Exception:  # any object may be a default, and any error may come of writing it
        return ()


def holds_file(core_schema: Any) -> bool:
    """Tell whether a value of this pydantic core schema can hold a File at any depth."""
    waiting, definitions, seen = [core_schema], {}, set()
    for definition in core_schema.get("definitions", ()) if isinstance(core_schema, dict) else ():
        definitions[definition.get("ref")] = definition
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if (found.get("metadata") or {}).get(MARK):
                return True
            ref = found.get("schema_ref") if found.get("type") == "definition-ref" else None
            if ref is not None and ref not in seen:
                seen.add(ref)
                waiting.append(definitions.get(ref))
            waiting.extend(child for key, child in found.items() if key not in ("metadata", "definitions"))
        elif isinstance(found, (list, tuple)):
            waiting.extend(found)
    return False


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles that only repeat a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _reaches(name: str, schema: Any, definitions: Mapping[str, Any]) -> bool:
    seen: set[str] = set()
    waiting = _refs(schema)
    while waiting:
        found = waiting.pop()
        if found == name:
            return True
        if found not in seen:
            seen.add(found)
            waiting |= _refs(definitions[found])
    return False


def _refs(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        found = {schema["$ref"].rpartition("/")[2]} if isinstance(schema.get("$ref"), str) else set()
        return found.union(*(_refs(child) for child in schema.values()))
    return set[str]().union(*(_refs(child) for child in schema)) if isinstance(schema, list) else set()


def _inlined(schema: Any, definitions: Mapping[str, Any], recursive: set[str]) -> Any:
    if isinstance(schema, list):
        return [_inlined(child, definitions, recursive) for child in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {key: _inlined(child, definitions, recursive) for key, child in schema.items() if key != "$ref"}
    if "oneOf" in rest and isinstance(rest.get("discriminator"), dict) and "propertyName" in rest["discriminator"]:
        del rest[
            "discriminator"
        ]  # a hint that points to definitions by reference; `oneOf` with constants says the same
    ref = schema.get("$ref")
    if not isinstance(ref, str):
        return (
            rest if ref is None else {**rest, "$ref": _inlined(ref, definitions, recursive)}
        )  # a property of that name
    name = ref.rpartition("/")[2]
    if name in recursive:
        return {"$ref": ref, **rest}
    return {**_inlined(definitions[name], definitions, recursive), **rest}


def _rebased(schema: Any, pointer: str) -> Any:
    if isinstance(schema, list):
        return [_rebased(child, pointer) for child in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        key: pointer + child[1:] if key == "$ref" and isinstance(child, str) else _rebased(child, pointer)
        for key, child in schema.items()
    }


def _type_name(value: object) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return names.get(type(value), "object")
