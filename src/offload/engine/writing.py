"""Chunks that come from elsewhere become a blob, whole or not at all."""

from collections.abc import AsyncIterator

from offload.ports import BlobWriter


async def write_all(writer: BlobWriter, chunks: AsyncIterator[bytes]) -> tuple[int, str]:
    """Stream chunks into a blob and return its size and SHA-256; nothing remains of it unless all came."""
    try:
        async for chunk in chunks:
            await writer.write(chunk)
        return await writer.commit()
    except BaseException:
        await writer.abort()
        raise


async def whole(data: bytes) -> AsyncIterator[bytes]:
    """Yield what is in memory already as one chunk."""
    yield data
