"""Where a broker is: its URL taken apart, and shown without its password."""

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from offload.core.errors import WrongSetting
from offload.core.task import Record

PREFIX_DEFAULT = "offload"
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


class Address(Record, frozen=True, kw_only=True):
    """A broker's URL without what is for this program alone."""

    scheme: str
    url: str
    """For the client library: with its password, without `prefix`."""
    shown: str
    """For people: without user, password and options."""
    prefix: str
    """What the names of queues, streams and groups at the broker begin with."""
    options: dict[str, str]
    """The rest of the query."""
    secrets: tuple[str, ...]
    """What must never be shown, as written in the URL and as meant."""

    def without_secrets(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def address_of(url: str, setting: str = "broker") -> Address:
    """Raise WrongSetting for what is no broker's URL, without repeating a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise WrongSetting(f"{setting}: this is not a URL: {error}") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    prefix = options.pop("prefix", PREFIX_DEFAULT)
    if not _PREFIX.fullmatch(prefix):
        raise WrongSetting(f"{setting}: prefix={prefix!r} must match {_PREFIX.pattern}")
    if not parts.hostname:
        raise WrongSetting(f"{setting}: {shown(url)} names no host; write one as in {parts.scheme}://HOST")
    return Address(
        scheme=parts.scheme,
        url=parts._replace(query=urlencode(options)).geturl(),
        shown=_bare(parts),
        prefix=prefix,
        options=options,
        secrets=tuple(filter(None, (parts.password, unquote(parts.password or ""), options.get("password")))),
    )


def shown(url: str) -> str:
    """Return a broker's URL as people may see it."""
    try:
        return _bare(urlsplit(url))
    except ValueError:
        return "(not a URL)"


def _bare(parts: SplitResult) -> str:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
