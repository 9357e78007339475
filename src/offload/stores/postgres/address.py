"""The URL of a database: what is accepted, and how it is shown without its password."""

from urllib.parse import urlsplit, urlunsplit

from offload.core.errors import WrongSetting

SCHEMES = ("postgresql", "postgres")


def checked(url: str) -> str:
    """Return the URL. Raise WrongSetting when it names no database of PostgreSQL."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (raises for a port that is no number)
    except ValueError as error:
        raise WrongSetting(f"store: {_example(url)}: {error}") from None
    if parts.scheme not in SCHEMES or not parts.path.strip("/"):
        raise WrongSetting(f"store: {_example(url)} names no database")
    return url


def shown(url: str) -> str:
    """Return the URL for people: nothing in it is secret."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        user = parts.username
        if "@" not in parts.netloc and "@" in url:  # a password with a slash in it, which has to be written %2F
            raise ValueError
    except ValueError:
        return "postgresql://…"
    return urlunsplit((parts.scheme, f"{user}@{host}" if user else host, parts.path, "", ""))


def _example(url: str) -> str:
    return f"{shown(url)} must be like postgresql://user:password@host:5432/database, and"
