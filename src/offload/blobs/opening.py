"""Opens the blobs that a URL names: a directory, or a bucket with the credentials of the environment."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from offload.blobs.cache import Cache
from offload.blobs.local import LocalBlobs
from offload.blobs.names import PART
from offload.blobs.presign import Credentials
from offload.core.errors import WrongSetting
from offload.core.task import Record, Seconds
from offload.ports import Blobs, Clock
from offload.ports.links import BlobLinks

if TYPE_CHECKING:  # an extra
    from obstore.store import ObjectStore

EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure"}
OPTIONS = {
    "s3": ("endpoint", "region", "path_style", "public", "ca_file"),
    "gs": ("endpoint", "ca_file"),
    "az": ("account", "endpoint", "ca_file"),
}
"""What the query of a URL may say; everything else, secrets above all, comes from the environment."""
ENDPOINT_VARIABLES = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": (),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
CONNECT_SECONDS = 5
STALL_SECONDS = 10.0
"""How long a store may say nothing at all in the middle of a request."""
COPY_SECONDS = 300.0
"""How long it may say nothing while it copies some gigabytes."""
REQUEST_SECONDS = 300
TRIES_MAX = 3


class BlobPlace(Record, frozen=True, kw_only=True):
    """A bucket and a prefix in it; `options` hold no secrets."""

    kind: str
    bucket: str
    prefix: str
    options: dict[str, str] = {}

    @property
    def shown(self) -> str:
        return f"{self.kind}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


class CacheLimits(Record, frozen=True, kw_only=True):
    bytes_max: int
    idle_seconds_max: Seconds = 3600.0


class Opened(NamedTuple):
    """Blobs that are not started, and what makes links to them, when clients can reach them."""

    blobs: Blobs
    links: BlobLinks | None = None


def open_blobs(url: str, data: Path, limits: CacheLimits, environ: Mapping[str, str], clock: Clock) -> Opened:
    """Return the blobs at a URL; an empty one means the data directory. Raise WrongSetting."""
    if not url:
        return Opened(LocalBlobs(data / "blobs"))
    place = parse_place(url)
    if isinstance(place, Path):
        return Opened(LocalBlobs(place))
    try:
        from offload.blobs.objects import ObjectBlobs
    except ImportError as error:
        raise WrongSetting(
            f'blobs: {place.kind}://… needs a package that is not here; pip install "offload[{EXTRAS[place.kind]}]"'
        ) from error
    cache = Cache(data / "blob-cache", bytes_max=limits.bytes_max, idle_seconds_max=limits.idle_seconds_max)
    store, copier = open_store(place, environ), open_store(place, environ, stall_seconds=COPY_SECONDS)
    blobs = ObjectBlobs(store, cache, copier=copier, place=place.shown)
    return Opened(blobs, _links(place, store, environ, clock))


def parse_place(url: str) -> BlobPlace | Path:
    """Return what a URL names: a directory or a bucket. Raise WrongSetting, which repeats no secrets."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        if parts.netloc not in ("", "localhost") or not path.is_absolute() or parts.query:
            raise WrongSetting("blobs: a directory is written with three slashes, as in file:///var/lib/offload/blobs")
        return path
    if parts.scheme not in EXTRAS:
        raise WrongSetting(
            "blobs: write file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
            + (f"; {parts.scheme}:// is none of them" if parts.scheme else "")
        )
    if "@" in parts.netloc or ":" in parts.netloc:
        raise WrongSetting(
            f"blobs: only the name of the bucket comes after {parts.scheme}://; credentials are taken from the "
            "environment, never from the URL"
        )
    prefix = parts.path.strip("/")
    if not PART.fullmatch(parts.netloc) or any(not PART.fullmatch(part) for part in prefix.split("/") if prefix):
        raise WrongSetting(
            f"blobs: {parts.scheme}://{parts.netloc}{parts.path}: a bucket and, after a slash, a prefix of letters, "
            "digits, . _ and - are needed"
        )
    return BlobPlace(kind=parts.scheme, bucket=parts.netloc, prefix=prefix, options=_options(parts.scheme, parts.query))


def open_store(
    place: BlobPlace, environ: Mapping[str, str], *, stall_seconds: Seconds = STALL_SECONDS
) -> "ObjectStore":
    """Return a client for a bucket; it reads its credentials from the environment of the process."""
    from obstore.store import AzureStore, GCSStore, S3Store

    given = place.options
    endpoint = given.get("endpoint") or next(
        (environ[name] for name in ENDPOINT_VARIABLES[place.kind] if environ.get(name)), ""
    )
    common: dict[str, Any] = {
        "prefix": place.prefix or None,
        "client_options": _client_options(place, endpoint, stall_seconds),
        "retry_config": {
            "max_retries": TRIES_MAX - 1,
            "retry_timeout": timedelta(seconds=STALL_SECONDS),
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 3},
        },
    }
    config: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    try:
        if place.kind == "gs":
            return GCSStore(place.bucket, config={"base_url": endpoint} if endpoint else {}, **common)
        if place.kind == "az":
            if "account" in given:
                config["account_name"] = given["account"]
            return AzureStore(place.bucket, config=config, **common)  # type: ignore[arg-type]
        if "region" in given:
            config["region"] = given["region"]
        if "path_style" in given:
            config["virtual_hosted_style_request"] = given["path_style"] == "no"
        return S3Store(place.bucket, config=config, **common)  # type: ignore[arg-type]
    except Exception as error:  # the library has no one error for what it cannot make sense of
        raise WrongSetting(f"blobs: {place.shown}: {str(error).partition(chr(10))[0]}") from error


def _links(place: BlobPlace, store: "ObjectStore", environ: Mapping[str, str], clock: Clock) -> BlobLinks | None:
    """Return what makes links, if the store is S3 and the environment has credentials that can sign."""
    from obstore.store import S3Store

    from offload.blobs.s3_links import S3Links

    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not isinstance(store, S3Store) or not key or not secret:
        return None
    regions = (place.options.get("region"), environ.get("AWS_REGION"), environ.get("AWS_DEFAULT_REGION"), "us-east-1")
    region = next(region for region in regions if region)
    token = environ.get("AWS_SESSION_TOKEN", "")
    credentials = Credentials(access_key=key, secret_key=secret, region=region, token=token)
    return S3Links(store, credentials, clock, public=place.options.get("public", ""))


def _client_options(place: BlobPlace, endpoint: str, stall_seconds: Seconds) -> dict[str, Any]:
    options: dict[str, Any] = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=stall_seconds),
        "timeout": timedelta(seconds=REQUEST_SECONDS),
        "default_content_type": "application/octet-stream",
        "user_agent": "offload",
    }
    if "ca_file" in place.options:
        try:
            options["root_certificate"] = Path(place.options["ca_file"]).read_bytes()
        except OSError as error:
            raise WrongSetting(f"blobs: ca_file: {error.filename}: {error.strerror}") from error
    return options


def _options(kind: str, query: str) -> dict[str, str]:
    found = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in found.items():
        if name not in OPTIONS[kind]:
            raise WrongSetting(
                f"blobs: {kind}://… takes {', '.join(OPTIONS[kind])} after the question mark, not {name!r}"
            )
        if name == "path_style" and value not in ("yes", "no"):
            raise WrongSetting("blobs: path_style is yes or no")
        if name in ("endpoint", "public") and (not value.startswith(("http://", "https://")) or "@" in value):
            raise WrongSetting(f"blobs: {name} is an http:// or https:// address without credentials")
    return found
