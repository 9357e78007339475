"""The published tests of the last hour of queues, for every store of ours."""

from offload.conformance.test_history_store import *  # noqa: F403
