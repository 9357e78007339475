"""The published tests of opening a store again, for every store of ours."""

from offload.conformance.test_durability import *  # noqa: F403
