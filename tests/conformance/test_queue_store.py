"""The published tests of queues, for every store of ours."""

from offload.conformance.test_queue_store import *  # noqa: F403
