"""The URL of a database: what is accepted, and how it is shown without its password."""

from urllib.parse import SplitResult, urlsplit, urlunsplit

from offload.core.errors import WrongSetting

SCHEMES = ("postgresql", "postgres")
LIKE = "write postgresql://user:password@host:5432/database"


def checked(url: str) -> str:
    """Return the URL. Raise WrongSetting, which shows nothing of a password, when it names no database."""
    parts = _parts(url)
    if parts is None:
        special = "in a user or password write / as %2F, @ as %40, : as %3A, # as %23, ? as %3F"
        raise WrongSetting(f"store: this URL cannot be read: {LIKE}; {special}")
    if parts.scheme not in SCHEMES or not parts.path.strip("/"):
        raise WrongSetting(f"store: {shown(url)} names no database: {LIKE}")
    return url


def shown(url: str) -> str:
    """Return the URL for people: nothing in it is secret."""
    parts = _parts(url)
    if parts is None:
        return "postgresql://…"
    hosts = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{parts.username}@{hosts}" if parts.username else hosts, parts.path, "", ""))


def _parts(url: str) -> SplitResult | None:
    """Return the parts; None when it is not certain which of them is the password."""
    try:
        parts = urlsplit(url)
        for host in parts.netloc.rpartition("@")[2].split(","):  # several are tried one after the other
            urlsplit(f"//{host}").port  # noqa: B018  (raises for one that is no number)
    except ValueError:
        return None
    ahead = url.partition("?")[0]
    return None if "@" in ahead and ("@" not in parts.netloc or parts.netloc.count("@") > 1) else parts
