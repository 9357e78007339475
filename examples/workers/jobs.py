"""Two jobs that no worker of the server runs: the workers beside this file do, each in its own language."""

from offload import File, Retry, job


@job(external=True, queue="text", timeout=600, retry=Retry(max_attempts=3))
def count(text: File, seconds: float = 0) -> dict[str, int]:
    """Count the bytes, lines and words of a text, and pretend that it takes so many seconds."""
    return {}


@job(external=True, queue="text", timeout=600)
def shout(text: File) -> File:
    """Give a text back in capital letters."""
    return text
