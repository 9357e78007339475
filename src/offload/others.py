"""Adapters of others: what opens a URL that no adapter of ours does, found among the packages that are installed."""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any
from urllib.parse import urlsplit

from offload.core.errors import WrongSetting

GROUPS: Mapping[str, str] = {"store": "offload.stores", "broker": "offload.brokers", "blobs": "offload.blobs"}
"""By setting: the group of entry points, in which each has the name of a URL's scheme."""
OURS: Mapping[str, tuple[str, ...]] = {
    "store": ("sqlite", "postgresql", "postgres"),
    "broker": ("native", "redis", "rediss", "amqp", "amqps", "sqs"),
    "blobs": ("file", "s3", "gs", "az"),
}
"""Schemes that no package can take over."""

Opener = Callable[..., Any]


def opener(setting: str, url: str) -> Opener | None:
    """Return what an installed package opens such URLs with, None when there is none. Raise WrongSetting."""
    point = _point(setting, url)
    if point is None:
        return None
    try:
        found: Opener = point.load()
    except Exception as error:  # whatever somebody else's module does when it is imported
        said = f"{type(error).__name__}: {error}"
        raise WrongSetting(
            f"{setting}: {point.name}:// is opened by {point.value}, which cannot be had: {said}"
        ) from error
    return found


def is_known(setting: str, url: str) -> bool:
    """Tell whether an installed package opens such URLs; import nothing."""
    return _point(setting, url) is not None


def bare(url: str) -> str:
    """Return a URL without what may be secret in it: user, password and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _point(setting: str, url: str) -> EntryPoint | None:
    scheme, colon, _ = url.partition(":")
    if not colon or scheme in OURS[setting]:
        return None
    return next(iter(entry_points(group=GROUPS[setting], name=scheme)), None)
