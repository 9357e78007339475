"""The published tests of dropping what has been kept long enough, for every store of ours."""

from offload.conformance.test_task_store_retention import *  # noqa: F403
