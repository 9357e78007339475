"""JSON with no doubt in it: what is read has one meaning, what is written any reader takes."""

import json
from typing import Any, NoReturn

import msgspec
from pydantic_core import to_jsonable_python

DEPTH_MAX = 64

_decode = msgspec.json.Decoder().decode


def loads(body: bytes) -> Any:
    """Read JSON; raise ValueError for NaN, duplicate keys, too deep nesting and whatever is not JSON in UTF-8."""
    try:
        value = _decode(body)
    except RecursionError:
        raise ValueError(f"not usable JSON: nested deeper than {DEPTH_MAX} levels") from None
    except UnicodeDecodeError:
        raise ValueError("not valid JSON: it is not UTF-8") from None
    except msgspec.MsgspecError as error:
        raise ValueError(_why(body, error)) from None
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX:
        _refuse_depth(value)
    # A key needs a colon, so as many colons as keys means no key was given twice; else look closely.
    if body.count(b":") != _count_keys(value):
        json.loads(body.decode(), object_pairs_hook=_refuse_duplicates)
    return value


def dumps(value: object) -> bytes:
    """Write JSON; raise ValueError for what JSON cannot hold, with its place."""
    try:
        return _write(value)
    except (ValueError, TypeError, RecursionError) as error:
        _explain(value, error)


def _write(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=to_jsonable_python)
    return text.encode()


def _why(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "the body is empty; send a JSON object"
    if "truncated" in str(error) and body.rstrip()[-1:] in (b"}", b"]", b'"') and rb"\ud" in body.lower():
        return "not valid JSON: a string holds half of a surrogate pair"
    return "not valid JSON: " + str(error).removeprefix("JSON is malformed: ").replace(" - at `$[...]`", "")


def _refuse_depth(value: object) -> None:
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [child for parent in level for child in _children(parent)]
    if not any(type(found) is dict or type(found) is list for found in level):
        return
    raise ValueError(f"not usable JSON: nested deeper than {DEPTH_MAX} levels")


def _children(value: object) -> list[Any]:
    if type(value) is dict:
        return list(value.values())
    return value if type(value) is list else []


def _count_keys(value: object) -> int:
    total, waiting = 0, [value]
    while waiting:
        found = waiting.pop()
        if type(found) is dict:
            total += len(found)
            waiting.extend(child for child in found.values() if type(child) is dict or type(child) is list)
        elif type(found) is list:
            waiting.extend(child for child in found if type(child) is dict or type(child) is list)
    return total


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"not usable JSON: the key {twice[:80]!r} is given twice")
    return found


def _explain(value: object, error: Exception) -> NoReturn:
    place, found = _first_bad(value)
    if isinstance(error, UnicodeEncodeError):
        why = "a string with half of a surrogate pair, which is not a character"
    elif isinstance(found, float):
        why = f"{found}, which JSON cannot hold; use None"
    else:
        why = f"{type(found).__name__}: {error}"
    raise ValueError(f"{place or 'the value'} is {why}") from None


def _first_bad(value: object, place: str = "") -> tuple[str, object]:
    """Find the innermost value that cannot be written."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        try:
            _write(child)
        except (ValueError, TypeError, RecursionError):
            return _first_bad(child, f"{place}.{key}" if place else str(key))
    return place, value
