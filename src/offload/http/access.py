"""Who asks, and whether they may: a key's scopes for each route, its rate, and patience with wrong keys."""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Mapping

from offload.core.buckets import Bucket
from offload.core.errors import KeyRequired, QuotaExceeded, ScopeMissing
from offload.core.keys import KeyScope
from offload.core.task import Scope, Seconds
from offload.engine.keyring import NOBODY, Holder
from offload.engine.quotas import Share
from offload.http.call import Call
from offload.http.config import HttpConfig
from offload.http.sessions import PATH as SESSION
from offload.http.sessions import session_of
from offload.ports import Clock

Scopes = frozenset[KeyScope]

SUBMIT, READ = frozenset({KeyScope.SUBMIT}), frozenset({KeyScope.READ})
WORK, ADMIN = frozenset({KeyScope.WORK}), frozenset({KeyScope.ADMIN})
ANY = frozenset(KeyScope)
OPEN: Scopes = frozenset()
"""For everybody, without a key."""

NEEDED: Mapping[str, Mapping[str, Scopes]] = {
    # a route that is not here is for admins only
    "/v1/jobs": {"GET": ANY},
    "/v1/jobs/{job}": {"GET": ANY, "POST": SUBMIT},
    "/v1/tasks": {"GET": READ, "POST": SUBMIT},
    "/v1/tasks/batch": {"POST": SUBMIT},
    "/v1/tasks/{id}": {"GET": READ, "PUT": SUBMIT, "DELETE": SUBMIT},
    "/v1/tasks/{id}/run": {"POST": SUBMIT},
    "/v1/tasks/{id}/status": {"GET": READ},
    "/v1/tasks/{id}/result": {"GET": READ},
    "/v1/tasks/{id}/input/{name}": {"GET": READ},
    "/v1/tasks/{id}/result/preview": {"GET": READ},
    "/v1/tasks/{id}/input/{name}/preview": {"GET": READ},
    "/v1/tasks/{id}/events": {"GET": READ},
    "/v1/tasks/{id}/logs": {"GET": READ},
    "/v1/tasks/{id}/links": {"POST": READ},
    "/v1/tasks/{id}/cancel": {"POST": SUBMIT},
    "/v1/tasks/{id}/retry": {"POST": SUBMIT},
    "/v1/files": {"POST": SUBMIT},
    "/v1/files/links": {"POST": SUBMIT},
    "/v1/files/{id}/confirm": {"POST": SUBMIT},
    "/v1/queues": {"GET": READ},
    "/v1/queues/{queue}": {"GET": READ},
    "/v1/queues/{queue}/pause": {"POST": ADMIN},
    "/v1/queues/{queue}/resume": {"POST": ADMIN},
    "/v1/callbacks": {"GET": READ},
    "/v1/callbacks/{id}/replay": {"POST": SUBMIT},
    "/v1/callbacks/test": {"POST": SUBMIT},
    "/v1/callbacks/secret": {"GET": SUBMIT},
    "/v1/callbacks/secret/rotate": {"POST": SUBMIT},
    "/v1/schedules": {"GET": READ},
    "/v1/schedules/{name}": {"GET": READ, "PUT": SUBMIT, "DELETE": SUBMIT},
    "/v1/leases": {"POST": WORK},
    "/v1/leases/{lease}/heartbeat": {"POST": WORK},
    "/v1/leases/{lease}/log": {"POST": WORK},
    "/v1/leases/{lease}/done": {"POST": WORK},
    "/v1/leases/{lease}/failed": {"POST": WORK},
    # these links are signed, and good for nothing else
    "/v1/leases/{link}/input/{name}": {"GET": OPEN},
    "/v1/leases/{link}/result": {"PUT": OPEN},
    "/v1/leases/{link}/result/failed": {"POST": OPEN},
    "/v1/keys": {"GET": ADMIN, "POST": ADMIN},
    "/v1/keys/{id}": {"DELETE": ADMIN},
    "/v1/session": {"GET": ANY, "POST": ANY, "DELETE": OPEN},
    "/v1/overview": {"GET": READ},
    "/v1/overview/events": {"GET": READ},
    "/v1/promises": {"GET": ANY},
    "/v1/nodes": {"GET": ADMIN},
    "/healthz": {"GET": OPEN},
    "/readyz": {"GET": OPEN},
    "/metrics": {"GET": ADMIN},
    "/openapi.json": {"GET": ANY},
    "/": {"GET": OPEN},
    "/docs": {"GET": OPEN},
    "/docs/{name}": {"GET": OPEN},
    "/client.js": {"GET": OPEN},
    "/client.d.ts": {"GET": OPEN},
    "/client/{name}": {"GET": OPEN},
    "/dashboard/{name}": {"GET": OPEN},
}

WRONG_KEYS, WRONG_KEYS_SECONDS = 10, 60.0
"""So many wrong keys from one address, and as many again in so long."""
ADDRESSES_MAX = 10_000


class Guard:
    """Asked for every request once there are keys."""

    def __init__(self, config: HttpConfig, clock: Clock) -> None:
        self._clock = clock
        self._metrics_open = config.metrics_open
        self._wrong: OrderedDict[str, Bucket] = OrderedDict()

    def admit(self, call: Call, route: str) -> None:
        """Let a call through as the owner of its key. Raise KeyRequired, ScopeMissing, QuotaExceeded."""
        method = "GET" if call.method == "HEAD" else call.method
        needed = NEEDED.get(route, {}).get(method, ADMIN)
        if not needed or (route == "/metrics" and self._metrics_open):
            return
        given = call.fields.get(b"authorization")
        if given is None and call.links.SIGN in call.connection["query_string"]:
            holder = self._holder_of_link(call)
        elif given is None and (session := session_of(call)) is not None:
            holder = self._holder_of_session(call, session)
        else:
            holder = self._holder(call, given)
        if not (holder.scopes & needed) and not holder.admin:
            raise ScopeMissing(sorted(needed))
        self._be(call, holder)
        if holder.bucket is not None:
            self._take(call, holder.bucket)

    def recognise(self, call: Call) -> None:
        """Take a call for its key's owner where none is needed: what is no key of ours means something to others.

        Raise QuotaExceeded.
        """
        given = call.fields.get(b"authorization", b"")
        holder = call.keyring.find(given[7:].strip()) if given[:7].lower() == b"bearer " else None
        if holder is None or call.keyring.over(holder) is not None:
            call.owner, call.sees = "", Scope(owner="")
        else:
            self._be(call, holder)
            if holder.bucket is not None:
                self._take(call, holder.bucket)

    def _be(self, call: Call, holder: Holder) -> None:
        holder.used_at = self._clock.now()
        call.key, call.owner, call.sees, call.admin = holder.key, holder.key.owner, holder.sees, holder.admin

    def _holder(self, call: Call, given: bytes | None) -> Holder:
        if given is None or given[:7].lower() != b"bearer ":
            raise KeyRequired("this request needs a key: `Authorization: Bearer ofl_…`")
        holder = call.keyring.find(given[7:].strip())
        if holder is not None and (why := call.keyring.over(holder)) is None:
            return holder
        self._was_wrong(call)
        said = "that key is not valid" if holder is None else f"key {holder.key.id} {why}"
        raise KeyRequired(said, given=True)

    def _holder_of_link(self, call: Call) -> Holder:
        found, holder = None, None
        if call.method in ("GET", "HEAD"):
            found = call.links.taken(call.path, call.connection["query_string"], self._clock.now())
        if found is not None:
            holder = call.keyring.holder(found.key_id)
            call.connection["query_string"], call.by_link = found.query, True
        if holder is None or call.keyring.over(holder) is not None:
            self._was_wrong(call)
            raise KeyRequired("that link is not valid, or not any more", given=True)
        return holder

    def _holder_of_session(self, call: Call, session: str) -> Holder:
        """An ended session is no attack: nothing is counted against the browser that still has its cookie."""
        key_id = call.links.key_of(session, SESSION, self._clock.now())
        holder = None if key_id is None else call.keyring.holder(key_id)
        if holder is None or call.keyring.over(holder) is not None:
            raise KeyRequired("this session has ended; sign in again with a key")
        return holder

    def _take(self, call: Call, bucket: Bucket) -> None:
        taken = bucket.take(self._clock.monotonic())
        policy = f'"requests";q={bucket.count};w={bucket.seconds:.0f}'
        wait = math.ceil(bucket.seconds_to_next)
        call.limits.append((policy, f'"requests";r={bucket.left};t={wait}'))
        if not taken:
            raise QuotaExceeded(
                f"this key may make {bucket.count:,} requests in {bucket.seconds:g} s",
                retry_seconds=max(1, wait),
                limit=bucket.count,
            )

    def _was_wrong(self, call: Call) -> None:
        """Count a wrong key against where it came from; right ones from there are let in all the same."""
        address = network_of((call.connection.get("client") or ("", 0))[0])
        bucket = self._wrong.get(address)
        if bucket is None:
            bucket = self._wrong[address] = Bucket(WRONG_KEYS, WRONG_KEYS_SECONDS)
            self._forget(self._clock.monotonic())
        self._wrong.move_to_end(address)
        if not bucket.take(self._clock.monotonic()):
            raise QuotaExceeded(
                "too many wrong keys came from this address",
                retry_seconds=max(1, math.ceil(bucket.seconds_to_next)),
                limit=WRONG_KEYS,
            )

    def _forget(self, at: Seconds) -> None:
        """Drop the address that was wrong longest ago, once there are too many."""
        if len(self._wrong) > ADDRESSES_MAX:
            self._wrong.popitem(last=False)


async def share(call: Call, *, tasks: int = 0, size: int = 0) -> Share:
    """Reserve a part of what the call's owner may hold. Raise QuotaExceeded."""
    try:
        return await call.keyring.quotas.share(call.key, tasks=tasks, size=size)
    except QuotaExceeded as error:
        unit = "concurrent-requests" if error.what == "tasks" else "content-bytes"
        call.limits.append(
            (f'"{error.what}";q={error.limit};qu="{unit}"', f'"{error.what}";r=0;t={error.retry_seconds}')
        )
        raise


def be_nobody(call: Call) -> None:
    """Take from a call everything it may do, until its key says otherwise."""
    call.owner, call.sees, call.admin = "", NOBODY, False


def network_of(address: str) -> str:
    """Return whom to hold responsible: an IPv4 address, or the /64 of an IPv6 one, which is one customer."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
