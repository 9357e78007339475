"""What the headers of an answer mean: when to come back, what a file is called, what can be fetched on from where."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

from offload.core.files import type_of

NAME_BYTES_MAX = 255
RETRY_SECONDS_MAX = 7 * 86400.0
STRONG_DATE_SECONDS = 60.0
"""So much older than the answer, a Last-Modified cannot hide a second change within the same second."""
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")
_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]*"')
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return what Retry-After asks for; a date counts from the server's own Date, so that no clock has to agree."""
    given = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", given):
        return min(float(given), RETRY_SECONDS_MAX)
    then, now = _date(given), _date(headers.get("Date", ""))
    if then is None or now is None:
        return None
    return min(max((then - now).total_seconds(), 0.0), RETRY_SECONDS_MAX)


def media_type(headers: Mapping[str, str], name: str) -> str:
    """Return the type that a source gives, without its parameters; guessed from the name when it gives none."""
    bare = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return bare if _TYPE.fullmatch(bare) else type_of(name)


def file_name(headers: Mapping[str, str], path_query: str) -> str:
    """Return the name that a source gives, else the last part of its path; only a name, never a directory."""
    message = Message()
    message["Content-Disposition"] = headers.get("Content-Disposition", "").encode("utf-8", "ignore").decode()
    given = message.get_filename() or ""
    path = unquote(path_query.partition("?")[0], errors="replace")
    return _bare(given) or _bare(path) or "file"


def validator(headers: Mapping[str, str]) -> str | None:
    """Return what proves, in If-Range, that a source is still what it was: a strong tag or an old enough date."""
    tag = headers.get("ETag", "").strip()
    if _STRONG_TAG.fullmatch(tag):
        return tag
    modified, now = _date(headers.get("Last-Modified", "")), _date(headers.get("Date", ""))
    if tag or modified is None or now is None or (now - modified).total_seconds() < STRONG_DATE_SECONDS:
        return None
    return headers["Last-Modified"].strip()


def range_start(headers: Mapping[str, str]) -> tuple[int, int | None] | None:
    """Return where a part of a file begins, and the size of the whole if it is told; None when it says nothing."""
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if found is None:
        return None
    return int(found[1]), None if found[3] == "*" else int(found[3])


def _bare(given: str) -> str:
    last = given.replace("\\", "/").rpartition("/")[2]
    name = "".join(character for character in last if character.isprintable()).strip(' "').lstrip(".")
    while len(name.encode("utf-8", "replace")) > NAME_BYTES_MAX:
        name = name[1:]  # the end says what kind of file it is
    return name


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else None
