"""The published tests of adding, changing, claiming and holding tasks, for every store of ours."""

from offload.conformance.test_task_store import *  # noqa: F403
