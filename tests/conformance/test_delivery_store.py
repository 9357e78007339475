"""The published tests of callbacks, for every store of ours."""

from offload.conformance.test_delivery_store import *  # noqa: F403
