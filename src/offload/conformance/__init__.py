"""The promises of the ports as tests, for every adapter there is: ours, and those that others write.

pytest -p offload.conformance.plugin --pyargs offload.conformance --offload-store MODULE:FACTORY
"""

from offload.conformance.places import BlobPlace, Place
from offload.ports.store import Store

__all__ = ["BlobPlace", "Place", "Store"]
