"""Jobs that run by themselves, for tests of schedules."""

import offload


@offload.job(every="1s", catch_up="all")
def each() -> None:
    """Every due time is made up for."""


@offload.job(every="1s", catch_up="last")
def newest() -> None: ...


@offload.job(every="1s", catch_up="skip")
def punctual() -> None: ...


@offload.job(cron="30 2 * * *", timezone="Europe/Berlin")
def nightly() -> str:
    return "done"


@offload.job
def greet(name: str, words: int = 1) -> str:
    return f"hello {name}" * words
