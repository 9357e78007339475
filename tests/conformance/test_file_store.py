"""The published tests of files that belong to no task, for every store of ours."""

from offload.conformance.test_file_store import *  # noqa: F403
