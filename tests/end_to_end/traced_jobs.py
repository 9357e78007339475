"""Jobs that tell which trace they belong to, for servers in tests."""

from offload import Context, Retry, job


@job
def trace(ctx: Context) -> str:
    return ctx.traceparent


@job(retry=Retry(max_attempts=1))
def broken(ctx: Context, secret: str) -> None:
    raise ValueError(f"no {secret}")
