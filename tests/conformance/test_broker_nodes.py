"""The published tests of nodes with a broker, for every broker of ours."""

from offload.conformance.test_broker_nodes import *  # noqa: F403
