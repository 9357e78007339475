"""The published tests of finding tasks, for every store of ours."""

from offload.conformance.test_task_store_reads import *  # noqa: F403
