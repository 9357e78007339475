"""A process that takes one token and then does nothing, until it is killed."""

import asyncio
import sys

from tests.backends.brokers import open_broker


async def main(url: str, prefix: str, queue: str, job: str) -> None:
    async with open_broker(url, prefix=prefix, node="doomed") as broker:
        while not await broker.take((queue, job), limit=1):
            continue
        print("taken", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
