"""The published tests of pairings: every broker of ours with every store of ours."""

from offload.conformance.test_pairings import *  # noqa: F403
