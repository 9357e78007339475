"""Undoing a Content-Encoding in small pieces: a bomb is noticed when its first piece too many comes out."""

import zlib
from collections.abc import Iterator

from offload.core.errors import ExchangeFailed

PIECE_BYTES = 64 * 1024
MEMBERS_MAX = 1024
"""A gzip stream may be several, one after the other; a million empty ones cost time and give nothing."""


class Packed:
    """A body packed with gzip or deflate."""

    def __init__(self, encoding: str) -> None:
        self._is_gzip = encoding in ("gzip", "x-gzip")
        self._members = 0
        self._unpacker: zlib._Decompress | None = None

    @staticmethod
    def knows(encoding: str) -> bool:
        return encoding in ("gzip", "x-gzip", "deflate")

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """Yield what this much of the body holds. Raise ExchangeFailed when it is not what it says."""
        is_full = False
        while piece or is_full:
            if self._unpacker is None:
                self._unpacker = self._begin(piece)
            try:
                found = self._unpacker.decompress(piece, PIECE_BYTES)
            except zlib.error as error:
                raise ExchangeFailed(f"the body cannot be unpacked: {error}") from None
            if found:
                yield found
            is_full = len(found) == PIECE_BYTES and not self._unpacker.eof
            piece = self._unpacker.unconsumed_tail
            if self._unpacker.eof:
                piece, self._unpacker = self._unpacker.unused_data, None
                if not self._is_gzip or not piece.strip(b"\0"):
                    return  # padding behind the end is no harm

    def check_end(self) -> None:
        """Raise ExchangeFailed when the body stopped in the middle."""
        if self._unpacker is not None or not self._members:
            raise ExchangeFailed("the packed body ends in the middle")

    def _begin(self, piece: bytes) -> "zlib._Decompress":
        self._members += 1
        if self._members > MEMBERS_MAX:
            raise ExchangeFailed("the packed body has too many parts")
        if self._is_gzip:
            return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        # some servers send bare deflate without the zlib header that the name means
        return zlib.decompressobj(wbits=zlib.MAX_WBITS if piece[0] & 0x0F == 8 else -zlib.MAX_WBITS)
