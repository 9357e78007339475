"""What can be wrong with a schedule."""

from offload.core.errors import OffloadError, WrongJobDefinitionValue


class WrongSchedule(WrongJobDefinitionValue):
    """A schedule that cannot be kept as it is described: `errors` says what of it is wrong."""

    code = "WrongSchedule"


class ScheduleDoesNotExist(OffloadError):
    code = "ScheduleDoesNotExist"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no schedule {name[:80]!r}")


class ScheduleIsDeclared(OffloadError):
    """The schedule stands in the code of its job and is changed there; only pausing it is possible from outside."""

    code = "ScheduleIsDeclared"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"schedule {name!r} is declared in the code of its job: change it there; it can be paused here"
        )
