"""The published tests of schedules, for every store of ours."""

from offload.conformance.test_schedule_store import *  # noqa: F403
