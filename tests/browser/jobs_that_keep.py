"""A job whose results are whatever a client wants to have served back."""

from offload import File, job


@job
def keep(document: File, name: str, type: str) -> File:
    return File(document.read_bytes(), name=name, type=type)


@job
def say(value: str) -> str:
    print(value)
    return value
