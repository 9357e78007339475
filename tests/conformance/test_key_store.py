"""The published tests of keys, for every store of ours."""

from offload.conformance.test_key_store import *  # noqa: F403
