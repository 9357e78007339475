"""What every store promises about keys and about what their owners hold."""

import msgspec

from offload.conformance.making import NOW, add, claim, claimed, created, move, queued, stored
from offload.conformance.places import OpenStore
from offload.core.keys import ApiKey, KeyScope, Rate
from offload.core.task import FileRef
from offload.core.transitions import Event
from offload.ports import LooseFile, Note

CHECKS = ("store",)
NEEDS = ("keys",)


def key(key_id: str, **fields: object) -> ApiKey:
    given = {"owner": "anna", "scopes": (KeyScope.READ,), "hash": "0" * 64, "created_at": NOW, **fields}
    return msgspec.convert({"id": key_id, **given}, ApiKey, from_attributes=True)


async def test_keys_come_back_whole_and_in_order(open_store: OpenStore) -> None:
    async with open_store() as store:
        assert await store.keys.all() == []
        full = key(
            "b",
            scopes=(KeyScope.SUBMIT, KeyScope.ADMIN),
            expires_at=NOW + 5,
            rate=Rate(count=5, seconds=60.0),
            tasks_max=3,
            bytes_max=1024,
        )
        await store.keys.add(full)
        await store.keys.add(key("a"))
        assert await store.keys.all() == [full, key("a")]


async def test_a_key_is_revoked_once_and_never_forgotten(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.keys.add(key("a"))
        assert await store.keys.revoke("a", at=NOW + 1)
        assert await store.keys.revoke("a", at=NOW + 2)
        assert not await store.keys.revoke("b", at=NOW)
        (found,) = await store.keys.all()
        assert found.revoked_at == NOW + 1


async def test_the_last_use_is_kept(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.keys.add(key("a"))
        await store.keys.add(key("b"))
        await store.keys.note_uses({"a": NOW + 3})
        await store.keys.note_uses({})
        assert [found.last_used_at for found in await store.keys.all()] == [NOW + 3, None]


async def test_an_owner_is_told_only_what_is_theirs(open_store: OpenStore) -> None:
    async with open_store() as store:
        await add(store, owner="anna", input_bytes=10)
        await add(store, owner="anna", input_bytes=20, run_at=NOW + 50)
        await add(store, owner="bert", input_bytes=1000)
        await add(store, input_bytes=1000)
        await store.add([msgspec.structs.replace(queued(), task=created(owner="anna", input_bytes=5), events=())])
        (depth,) = await store.keys.depths("anna")
        assert (depth.queue, depth.queued, depth.ready, depth.running, depth.bytes) == ("images", 2, 1, 0, 30)
        assert await store.keys.unfinished("anna") == 3
        assert await store.keys.stored_bytes("anna") == 35
        assert await store.keys.depths("carl") == []
        assert (await store.keys.unfinished("carl"), await store.keys.stored_bytes("carl")) == (0, 0)


async def test_what_ended_is_no_longer_unfinished_but_stored_until_it_is_deleted(open_store: OpenStore) -> None:
    async with open_store() as store:
        await add(store, owner="anna", input_bytes=10)
        (task,) = await claim(store)
        (depth,) = await store.keys.depths("anna")
        assert (depth.queued, depth.ready, depth.running) == (0, 0, 1)
        large = FileRef(blob="t/x/out", name="x", type="text/plain", size=500)
        done = await move(store, task, Event.SUCCEED, keep_seconds=60.0, result_file=large)
        assert await store.keys.unfinished("anna") == 0
        assert await store.keys.stored_bytes("anna") == 510
        await store.add_file(LooseFile(id="f", owner="anna", file=large, created_at=NOW))
        await store.add_file(LooseFile(id="g", owner="bert", file=large, created_at=NOW))
        assert await store.keys.stored_bytes("anna") == 1010
        await move(store, done, Event.DELETE)
        assert await store.keys.stored_bytes("anna") == 500


async def test_a_store_keeps_the_secret_that_it_was_given_first(open_store: OpenStore) -> None:
    async with open_store() as store:
        assert await store.keys.secret(b"a" * 32) == b"a" * 32
        assert await store.keys.secret(b"b" * 32) == b"a" * 32


async def test_files_that_come_later_count_in_what_their_queue_and_their_owner_hold(open_store: OpenStore) -> None:
    asked = FileRef(blob="t/1/in/0", name="", type="", size=0, field="image", url="https://example.com/cat.jpg")
    here = FileRef(blob="t/1/in/0-1", name="cat.jpg", type="image/jpeg", size=500, field="image")
    async with open_store() as store:
        task = await claimed(store, files=(asked,), input_bytes=20, owner="ann")
        foreign = msgspec.structs.replace(task, node="other")
        notes = [Note(task=each, files=(here,), grown_bytes=500) for each in (task, foreign)]
        assert await store.note(notes) == [True, False]
        assert (await stored(store, task)).input_bytes == 520
        assert [depth.bytes for depth in await store.depths()] == [520]
        assert await store.keys.stored_bytes("ann") == 520
        again = await move(store, task, Event.RETRY, run_at=NOW)
        assert again.input_bytes == 520
        assert [depth.bytes for depth in await store.depths()] == [520]
        (task,) = await claim(store, limit=1, now=NOW + 60)
        await move(store, task, Event.SUCCEED)
        assert sum(depth.bytes for depth in await store.depths()) == 0
