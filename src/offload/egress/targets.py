"""Reading a URL that a client wrote: only one spelling of each place is taken, so that no two readers differ on it."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import quote, urljoin

import idna

from offload.core.errors import EgressRefused

URL_CHARACTERS_MAX = 8192
DEFAULT_PORTS = {"http": 80, "https": 443}
FIRST_FREE_PORT = 1024
CLOSED_PORTS = frozenset({
    # what browsers refuse as well: protocols that can be made to take an HTTP request for their own
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080,
    # databases, caches and control planes that obey whoever reaches them
    1433, 1521, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5900, 5984, 6379, 9200, 9300, 11211, 25672, 27017,
})  # fmt: skip
_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"[^/?#]*:")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([^:]*))?", re.DOTALL)
_WRONG_CHARACTER = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_OCTET = re.compile(r"25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9]")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_AS_IT_IS = "!$&'()*+,/:;=?@[]%-._~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A place that a request can go to, in the one spelling that we send."""

    scheme: str
    host: str
    """A name in ASCII, a dotted quad, or an IPv6 address without brackets; lower case."""
    port: int
    path_query: str

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}")

    @property
    def text(self) -> str:
        return self.origin + self.path_query

    @property
    def shown(self) -> str:
        """The URL for logs: without the query, which may hold a signature."""
        return self.origin + self.path_query.partition("?")[0]

    @property
    def is_address(self) -> bool:
        return ":" in self.host or self.host.rpartition(".")[2].isdigit()


def parse_target(url: str, *, https_only: bool = False) -> Target:
    """Return the place that a URL names, or raise EgressRefused with what is wrong with how it is written."""
    if len(url) > URL_CHARACTERS_MAX:
        raise EgressRefused(f"the URL is longer than {URL_CHARACTERS_MAX:,} characters")
    if _WRONG_CHARACTER.search(url):
        raise EgressRefused("the URL holds a space, a backslash or a control character")
    found = _URL.fullmatch(url)
    if found is None:
        raise EgressRefused("only http:// and https:// URLs can be used here")
    scheme, authority, rest = found[1].lower(), found[2], found[3]
    if https_only and scheme != "https":
        raise EgressRefused("this server uses https:// URLs only")
    host, port = _split(authority, DEFAULT_PORTS[scheme])
    path_query = (rest if rest.startswith("/") else "/" + rest).removesuffix("?") or "/"
    # percent signs stay as they are: a signed URL is signed letter by letter
    return Target(scheme=scheme, host=host, port=port, path_query=quote(path_query, safe=_AS_IT_IS))


def follow(target: Target, location: str, *, https_only: bool = False) -> Target:
    """Return the place that a redirect of `target` names, judged as if a client had written it."""
    if not location or _WRONG_CHARACTER.search(location):
        raise EgressRefused("the redirect does not name a URL")
    if _SCHEME.match(location):  # to some readers http:/a and http:a are relative, to others not
        return parse_target(location, https_only=https_only)
    try:
        joined = urljoin(target.text, location)
    except ValueError:
        raise EgressRefused("the redirect does not name a URL") from None
    return parse_target(joined, https_only=https_only)


def _split(authority: str, default_port: int) -> tuple[str, int]:
    if "@" in authority:
        raise EgressRefused("a URL with a user name or a password cannot be used here")
    if "%" in authority:
        raise EgressRefused("the host of the URL holds an escape or a zone; write it as it is")
    found = _AUTHORITY.fullmatch(authority)
    if found is None or not found[1]:
        raise EgressRefused("the URL has no host that can be read")
    return _host(found[1]), _port(found[2], default_port)


def _host(written: str) -> str:
    if written.startswith("["):
        try:
            return IPv6Address(written[1:-1]).compressed
        except AddressValueError:
            raise EgressRefused("what stands in brackets in the URL is not an IPv6 address") from None
    host = written.lower() if written.isascii() else _in_ascii(written)
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise EgressRefused("the host of the URL is not a host name")
    if _NUMBER.fullmatch(labels[-1]):
        # 127.1, 0x7f000001, 017700000001 and 2130706433 are all 127.0.0.1 to some reader
        quad = written.isascii() and len(labels) == 4 and not host.endswith(".")
        if not quad or not all(_OCTET.fullmatch(label) for label in labels):
            raise EgressRefused("an IPv4 address is written as four decimal numbers without leading zeros")
    return host


def _in_ascii(written: str) -> str:
    if len(written) > 253 or not written.isprintable():
        raise EgressRefused("the host of the URL is not a host name")
    try:
        return idna.encode(written, uts46=True, std3_rules=True).decode().lower()
    except (idna.IDNAError, UnicodeError):
        raise EgressRefused("the host of the URL is not an international host name") from None


def _port(written: str | None, default: int) -> int:
    if written is None:
        return default
    if not _PORT.fullmatch(written) or (port := int(written)) > 65535:
        raise EgressRefused("the port of the URL is not a number from 1 to 65535")
    if port in DEFAULT_PORTS.values() or (port >= FIRST_FREE_PORT and port not in CLOSED_PORTS):
        return port
    raise EgressRefused(f"port {port} is closed; 80, 443 and most from {FIRST_FREE_PORT} on are open")
