"""What can be wrong with a store, besides that it is away."""

from offload.core.errors import OffloadError, StoreUnavailable


class StoreInDoubt(StoreUnavailable):
    """The store did not say in time whether it wrote: what was asked for may turn out to have been done."""


class StoreInUse(OffloadError):
    """Another process owns the SQLite file."""

    code = "StoreInUse"


class StoreTooNew(OffloadError):
    """The file was written by a newer offload than this one."""

    code = "StoreTooNew"


class StoreDamaged(OffloadError):
    code = "StoreDamaged"
