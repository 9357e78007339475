"""What keeps a browser from taking what tasks hold for a part of the site, and other sites from using it."""

from offload.core.errors import OffloadError

OWN_FIELDS = ((b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin"))
"""Said with every answer of ours: it is what its type says, and pages of other origins cannot take it in."""

HELD_FIELDS = (
    *OWN_FIELDS,
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    (b"cache-control", b"private, no-cache"),
)
"""Said with what a task holds: opened by itself, nothing in it runs or loads, and its origin is none."""

INERT_TYPES = frozenset({
    "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "text/plain", "application/json",
    "audio/mpeg", "audio/wav", "audio/x-wav", "audio/ogg", "audio/flac", "audio/aac", "audio/mp4", "audio/webm",
    "video/mp4", "video/webm", "video/ogg",
})  # fmt: skip
"""What a browser may show in place; everything else is downloaded, because it could be made to run."""

_CODE = frozenset({
    b"script", b"worker", b"sharedworker", b"serviceworker", b"audioworklet", b"paintworklet", b"style", b"xslt",
})  # fmt: skip


class RunRefused(OffloadError):
    code = "RunRefused"


def check_use(use: bytes | None) -> None:
    """Refuse a page that would run what a task holds, or dress itself in it; a policy of 'self' would let it."""
    if use in _CODE:
        raise RunRefused(f"what a task holds is to read, and a page may not load it as a {use.decode()}")
