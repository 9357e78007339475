"""Jobs that read files, for servers in tests."""

import hashlib

from offload import File, Retry, job


@job(retry=Retry(max_attempts=2, first_seconds=0.1))
def digest(file: File) -> dict[str, str | int]:
    return {"name": file.name, "type": file.type, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


@job
def copy(file: File) -> File:
    return File(file.read_bytes(), name=file.name, type=file.type)


@job(retry=Retry(max_attempts=1))
def digest_once(file: File) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
