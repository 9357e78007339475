"""A job whose result is what was uploaded, under the name and type that it came with."""

from offload import File, job


@job
def same(file: File) -> File:
    return File(file.read_bytes(), name=file.name, type=file.type)
