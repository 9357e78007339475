"""Places inside JSON values, written as dotted paths."""

from typing import Any


def put(holder: Any, path: str, value: Any) -> bool:
    """Put `value` at a dotted path; a key may hold dots itself, so every way to cut the path is tried."""
    if isinstance(holder, list):
        head, _, rest = path.partition(".")
        index = int(head) if head.isdigit() else len(holder)
        if index >= len(holder):
            return False
        if rest:
            return put(holder[index], rest, value)
        holder[index] = value
        return True
    if not isinstance(holder, dict):
        return False
    if path in holder:
        holder[path] = value
        return True
    cuts = [at for at, character in enumerate(path) if character == "."]
    return any(path[:at] in holder and put(holder[path[:at]], path[at + 1 :], value) for at in cuts)
