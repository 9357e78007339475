"""The life of a worker process: learn what to do, load the jobs, say so, run attempts, leave."""

import faulthandler
import os
import socket
import sys
from pathlib import Path

from offload.core.catalog import Catalog
from offload.core.errors import CannotLoadJobs, WrongJob
from offload.loading import load_catalog
from offload.workers.child import one_by_one
from offload.workers.child.attempt import Child
from offload.workers.child.callables import Callables
from offload.workers.child.channel import Channel, ServerGone
from offload.workers.child.failures import Terminated, described
from offload.workers.child.interrupts import Interrupts
from offload.workers.child.results import Results
from offload.workers.child.scratch import Scratch
from offload.workers.child.speech import Later
from offload.workers.child.streams import Streams, log_by_default, tell_attempts_apart
from offload.workers.limits import die_with, restrict
from offload.workers.protocol import Boot, BootFailed, Ready
from offload.workers.tickets import Tickets


def main(arguments: list[str]) -> None:
    """Live for as long as the server wants; the descriptors and the server's process id are the arguments."""
    link_fd, tickets_fd, parent_pid = map(int, arguments)
    die_with(parent_pid)
    os.set_inheritable(link_fd, False)
    os.set_inheritable(tickets_fd, False)
    tickets = Tickets(tickets_fd)
    interrupts = Interrupts(lambda: tickets.ending)
    channel = Channel(socket.socket(fileno=link_fd), interrupts)
    try:
        boot = channel.next()
        assert isinstance(boot, Boot)
        tickets.enter()
        child = _prepare(boot, channel, interrupts, tickets)
        channel.send(Ready())
        if boot.is_async:
            from offload.workers.child import many_at_once  # asyncio costs the others time and memory

            many_at_once.serve(child)
        else:
            one_by_one.serve(child)
    except (ServerGone, Terminated):
        pass


def _prepare(boot: Boot, channel: Channel, interrupts: Interrupts, tickets: Tickets) -> Child:
    restrict(nice=boot.nice, memory_bytes=boot.memory_bytes)
    streams = Streams(boot.mark.encode())
    if boot.is_async:
        tell_attempts_apart()  # before the jobs' module keeps a stream for its logging
    faulthandler.enable(file=2)  # a crash in C tells in the task's log where it was
    sys.path[:] = boot.sys_path
    callables = Callables()
    interrupts.let_in()
    try:
        catalog = load_catalog(boot.target)
        log_by_default()
        for name in boot.lane_jobs if boot.own_lane else ():
            callables.of(catalog.jobs[name])
    except (Exception, SystemExit) as error:
        channel.send(BootFailed(_what_went_wrong(error)))
        sys.exit(1)
    finally:
        interrupts.open = False
    interrupts.install()  # again: the jobs' module may have taken the signal
    scratch = Path(boot.scratch)
    os.register_at_fork(after_in_child=channel.link.close)
    os.register_at_fork(after_in_child=streams.disown)
    return Child(
        catalog=_of_lane(catalog, boot),
        callables=callables,
        channel=channel,
        interrupts=interrupts,
        tickets=tickets,
        streams=streams,
        scratch=Scratch(scratch),
        results=Results(directory=Path(boot.results), child=scratch.name, bytes_max=boot.result_bytes_max),
        later=Later(),
        tells_memory=boot.tells_memory,
    )


def _of_lane(catalog: Catalog, boot: Boot) -> Catalog:
    missing = [name for name in boot.lane_jobs if name not in catalog.jobs]
    assert not missing, f"the jobs changed since the server read them: {missing}"
    return catalog


def _what_went_wrong(error: BaseException) -> str:
    if isinstance(error, CannotLoadJobs | WrongJob):
        return str(error)
    told = described(error)
    return told.traceback or f"{told.type}: {told.message}"


if __name__ == "__main__":
    main(sys.argv[1:])
