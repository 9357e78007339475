"""The published tests of claims for one owner, for every store of ours."""

from offload.conformance.test_claims_for_owners import *  # noqa: F403
