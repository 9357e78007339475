"""Signs URLs of S3 for those who have no credentials: AWS Signature Version 4, in the query."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from offload.core.task import Record, Seconds

ALGORITHM = "AWS4-HMAC-SHA256"
SECONDS_MAX = 7 * 86_400
"""No such URL may work for longer."""


class Credentials(Record, frozen=True, kw_only=True):
    access_key: str
    secret_key: str
    region: str
    token: str = ""


def presign(
    method: str, url: str, credentials: Credentials, *, now: Seconds, seconds: Seconds,
    query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """Return `url`, whose path is plain, with a signature; whoever uses it must send these very headers."""
    assert 0 < seconds <= SECONDS_MAX
    parts = urlsplit(url)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{moment[:8]}/{credentials.region}/s3/aws4_request"
    signed = {"host": parts.netloc, **{name.lower(): value for name, value in (headers or {}).items()}}
    fields = {
        **(query or {}),
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(int(seconds)),
        "X-Amz-SignedHeaders": ";".join(sorted(signed)),
    }
    if credentials.token:
        fields["X-Amz-Security-Token"] = credentials.token
    text = "&".join(f"{_escape(name)}={_escape(value)}" for name, value in sorted(fields.items()))
    lines = "".join(f"{name}:{value.strip()}\n" for name, value in sorted(signed.items()))
    request = "\n".join((method, parts.path, text, lines, fields["X-Amz-SignedHeaders"], "UNSIGNED-PAYLOAD"))
    digest = hashlib.sha256(request.encode()).hexdigest()
    signature = hmac.new(
        _key(credentials, moment[:8]), f"{ALGORITHM}\n{moment}\n{scope}\n{digest}".encode(), hashlib.sha256
    ).hexdigest()
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{text}&X-Amz-Signature={signature}"


def _key(credentials: Credentials, day: str) -> bytes:
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (day, credentials.region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _escape(text: str) -> str:
    return quote(text, safe="-_.~")
