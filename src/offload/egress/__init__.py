"""The one door out to addresses that clients name."""

from offload.egress.door import Door

__all__ = ["Door"]
