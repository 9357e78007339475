"""What every store promises about files that belong to no task."""

from uuid import uuid4

from offload.conformance.making import NOW
from offload.conformance.places import OpenStore
from offload.core.task import ALL, FileRef, Scope
from offload.ports import LooseFile

CHECKS = ("store",)


def loose(owner: str = "", created_at: float = NOW) -> LooseFile:
    file_id = str(uuid4())
    ref = FileRef(blob=f"f/{file_id}", name="cät.jpg", type="image/jpeg", size=3, sha256="ab")
    return LooseFile(id=file_id, owner=owner, file=ref, created_at=created_at)


async def test_a_file_is_read_back_as_it_was_added(open_store: OpenStore) -> None:
    async with open_store() as store:
        file = loose()
        await store.add_file(file)
        assert await store.get_file(ALL, file.id) == file
        assert await store.get_file(ALL, str(uuid4())) is None


async def test_a_file_of_another_owner_does_not_exist(open_store: OpenStore) -> None:
    async with open_store() as store:
        file = loose(owner="ann")
        await store.add_file(file)
        assert await store.get_file(Scope(owner="ann"), file.id) == file
        assert await store.get_file(Scope(owner="bob"), file.id) is None
        assert await store.get_file(Scope(owner=""), file.id) is None


async def test_the_oldest_files_are_forgotten_first(open_store: OpenStore) -> None:
    async with open_store() as store:
        files = [loose(created_at=NOW + at) for at in (5, 3, 4, 9)]
        for file in files:
            await store.add_file(file)
        assert await store.purge_files(created_before=NOW + 3, limit=9) == []
        assert await store.purge_files(created_before=NOW + 9, limit=2) == [files[1].id, files[2].id]
        assert await store.purge_files(created_before=NOW + 9, limit=2) == [files[0].id]
        assert await store.get_file(ALL, files[0].id) is None
        assert await store.get_file(ALL, files[3].id) == files[3]
