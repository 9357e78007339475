"""What a blob may be called: names never come from a client, and one that could lead elsewhere is refused."""

import re

UNFINISHED = "tmp"
"""The first part of names that no blob has: what is there belongs to the store itself."""
PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
NAME_CHARACTERS_MAX = 1000


def parts_of(name: str) -> list[str]:
    """Return the parts of a blob's name, or of a prefix of names. Raise ValueError."""
    parts = name.split("/")
    if not all(PART.fullmatch(part) for part in parts) or parts[0] == UNFINISHED or len(name) > NAME_CHARACTERS_MAX:
        raise ValueError(f"{name!r} cannot be the name of a blob")
    return parts
