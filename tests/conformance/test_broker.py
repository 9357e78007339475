"""The published tests of brokers, for every broker of ours."""

from offload.conformance.test_broker import *  # noqa: F403
