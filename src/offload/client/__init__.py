"""The Python client: blocking and async over one core."""

from offload.client.asynchronous import AsyncClient, AsyncResultFile, AsyncSubmitted
from offload.client.callbacks import CallbackSecret, CallbackTry, SentCallback
from offload.client.errors import RemoteError, ServerUnreachable, WaitTimeout
from offload.client.options import Options
from offload.client.orders import NewTask
from offload.client.replies import (
    Event,
    JobDescription,
    KeyDescription,
    NewKey,
    NodeDescription,
    Progress,
    QueueState,
    RemoteTask,
    StoredFile,
    TaskState,
)
from offload.client.schedules import RemoteSchedule
from offload.client.sync import Client, ResultFile, Submitted

__all__ = [
    "AsyncClient",
    "AsyncResultFile",
    "AsyncSubmitted",
    "CallbackSecret",
    "CallbackTry",
    "Client",
    "Event",
    "JobDescription",
    "KeyDescription",
    "NewKey",
    "NewTask",
    "Options",
    "Progress",
    "NodeDescription",
    "QueueState",
    "RemoteError",
    "RemoteSchedule",
    "RemoteTask",
    "ResultFile",
    "SentCallback",
    "ServerUnreachable",
    "StoredFile",
    "Submitted",
    "TaskState",
    "WaitTimeout",
]
