"""Signed links: one address of one task for a browser, which cannot send a key; short-lived and only to read."""

import base64
import hmac
from urllib.parse import quote

from offload.core.lease import derived
from offload.core.task import Record, Seconds

LINK_SECONDS, LINK_SECONDS_MAX = 300.0, 3600.0


class Taken(Record, frozen=True, kw_only=True):
    """Whose key a link stands for, and what is left of the query."""

    key_id: str
    query: bytes


class Links:
    """Signs with a secret of the store: a link works on every node of it, and after a restart."""

    SIGN = b"signed="

    def __init__(self, secret: bytes) -> None:
        self._secret = derived(secret, "links")

    def signed(self, path: str, *, key_id: str, until: Seconds) -> str:
        """Return the link that reads `path` in the name of a key."""
        return f"{quote(path)}?signed={self.stamp(path, key_id=key_id, until=until)}"

    def stamp(self, path: str, *, key_id: str, until: Seconds) -> str:
        """Return the signature alone."""
        ends = int(until)
        return f"{key_id}.{ends}.{self._mac(path, key_id, ends)}"

    def key_of(self, stamp: str, path: str, now: Seconds) -> str | None:
        """Return whose key a signature of `path` stands for; None when it is not valid, or not any more."""
        key_id, _, more = stamp.partition(".")
        ends, _, mac = more.partition(".")
        if not (ends.isascii() and ends.isdigit() and len(ends) < 13):
            return None
        right = hmac.compare_digest(self._mac(path, key_id, int(ends)).encode(), mac.encode())
        return key_id if right and int(ends) >= now else None

    def taken(self, path: str, query: bytes, now: Seconds) -> Taken | None:
        """Take the signature from the query of a GET; None when it is not valid."""
        rest = []
        text = ""
        for part in query.decode("latin-1").split("&"):
            if part.startswith("signed=") and not text:
                text = part.removeprefix("signed=")
            else:
                rest.append(part)
        key_id = self.key_of(text, path, now)
        return None if key_id is None else Taken(key_id=key_id, query="&".join(rest).encode("latin-1"))

    def _mac(self, path: str, key_id: str, ends: int) -> str:
        said = f"GET\n{path}\n{key_id}\n{ends}".encode("utf-8", "surrogateescape")
        return base64.urlsafe_b64encode(hmac.digest(self._secret, said, "sha256")).decode().rstrip("=")
