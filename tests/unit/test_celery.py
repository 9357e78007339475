"""Jobs made of Celery tasks, and what the states of messages mean."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from celery import Celery

from offload.celery.attempt import message_id_of, outcome_of, progress_of
from offload.celery.jobs import CeleryTask, catalog_of, job_name, load_jobs
from offload.celery.wire import Meta
from offload.core.errors import CannotLoadJobs, WrongInput, WrongJob
from offload.core.job import Job
from offload.core.outcome import Failed, Succeeded
from offload.core.task import Progress, Reason

NUMBERS = itertools.count()
MADE = "from celery import Celery\napp = Celery('x', broker='memory://'"


def job_of(function: Callable[..., Any], **options: Any) -> Job:
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.task(name="shop.tasks.one", shared=False, **options)(function)
    (job,) = catalog_of(app)
    return job


def called(job: Job, **given: Any) -> tuple[list[Any], dict[str, Any]]:
    assert isinstance(job.target, CeleryTask)
    return job.target.arguments(given)


@pytest.mark.parametrize(
    ("task", "job"),
    [
        ("proj.tasks.add", "proj-tasks-add"),
        ("Proj.Tasks.Add_Two", "proj-tasks-add_two"),
        ("add", "add"),
        ("2fast", "task-2fast"),
        ("ärger.söhne", "rger-s-hne"),
    ],
)
def test_a_job_is_named_after_its_task(task: str, job: str) -> None:
    assert job_name(task) == job


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    one, other = (job_name("a." * 50 + end) for end in ("one", "other"))
    assert len(one) == len(other) == 64 and one != other


def test_two_tasks_of_one_name_are_refused() -> None:
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    for name in ("proj.add", "proj-add"):

        @app.task(name=name, shared=False)  # type: ignore[untyped-decorator]
        def add() -> None: ...

    with pytest.raises(WrongJob, match="would both be job 'proj-add'"):
        catalog_of(app)


def test_a_signature_is_the_schema_and_the_way_to_call_it() -> None:
    def send(to: str, count: int = 1) -> bool:
        """Send something."""
        return True

    job = job_of(send, time_limit=30)
    assert job.schema.input["required"] == ["to"] and job.schema.input["additionalProperties"] is False
    assert (job.timeout_seconds, job.schema.result) == (30.0, {"type": "boolean"})
    assert "Send something." in job.description and "shop.tasks.one" in job.description
    with pytest.raises(WrongInput):
        job.schema.check_json("x", b'{"to": "anna", "count": "many"}')
    assert called(job, to="anna") == ([], {"to": "anna"})


def test_what_has_to_be_given_by_position_is() -> None:
    def odd(a: int, /, b: int = 2, *rest: str, c: int = 3, **more: int) -> None: ...

    job = job_of(odd)
    assert job.schema.input["additionalProperties"] is True
    assert job.schema.check_json("x", b'{"a": 1, "other": 5}').input == b'{"a": 1, "other": 5}'
    assert called(job, a=1, c=5, other=6) == ([1], {"c": 5, "other": 6})
    assert called(job, a=1, b=7, rest=["x", "y"]) == ([1, 7, "x", "y"], {})
    assert called(job, a=1, rest=["x"]) == ([1, 2, "x"], {})


def test_annotations_that_say_nothing_of_json_let_everything_in() -> None:
    def strange(file: object, where: "Unknown", n: int = 1) -> object: ...  # type: ignore[name-defined]  # noqa: F821

    job = job_of(strange)
    assert set(job.schema.input["properties"]) == {"file", "where", "n"}
    assert job.schema.check_json("x", b'{"file": [1], "where": {}, "n": "any"}')


def test_a_bound_task_does_not_ask_for_itself() -> None:
    def step(self: Any, count: int) -> None: ...

    assert list(job_of(step, bind=True).schema.input["properties"]) == ["count"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{MADE})\n@app.task(shared=False)\ndef f(): ...\n", "no result backend"),
        (f"{MADE}, backend='cache+memory://')\n", "no task of its own"),
        (f"{MADE}, backend='cache+memory://')\napp.conf.result_serializer = 'pickle'\n", "only JSON is read"),
        (f"{MADE}, backend='cache+memory://')\napp.conf.accept_content = ['pickle']\n", "do not take JSON"),
        (f"{MADE}, backend='cache+memory://')\napp.conf.task_always_eager = True\n", "task_always_eager"),
        ("app = 5\n", "no Celery application"),
        ("import nosuchmodule\n", "nosuchmodule"),
    ],
)
def test_what_cannot_be_served_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    name = f"wrong_app_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises((CannotLoadJobs, WrongJob), match=says):
        load_jobs(name)


def meta(status: str, result: Any = None, traceback: str | None = None) -> Meta:
    return Meta(status=status, result=msgspec.Raw(msgspec.json.encode(result)), traceback=traceback)


@pytest.mark.parametrize(
    ("said", "progress"),
    [
        (meta("STARTED", {"pid": 5}), None),
        (meta("SENT"), None),
        (meta("PROGRESS", {"current": 1, "total": 4}), Progress(fraction=0.25, message="PROGRESS")),
        (meta("PROGRESS", {"done": 5, "total": 4, "status": "late"}), Progress(fraction=1.0, message="late")),
        (meta("LOADING", {"fraction": 0.5, "message": "half"}), Progress(fraction=0.5, message="half")),
        (meta("LOADING", {"total": 0, "current": 0}), Progress(message="LOADING")),
        (meta("LOADING", "soon"), Progress(message="soon")),
        (meta("LOADING"), Progress(message="LOADING")),
        (meta("RETRY", {"exc_type": "E"}), Progress(message="Celery tries it again")),
    ],
)
def test_what_a_task_says_of_itself_is_progress(said: Meta, progress: Progress | None) -> None:
    assert progress_of(said) == progress


def test_how_a_message_ended_is_how_the_attempt_did() -> None:
    assert outcome_of(meta("SUCCESS", {"a": [1]})) == Succeeded(json=b'{"a":[1]}')
    wrong = {"exc_type": "ValueError", "exc_message": ["no", {"n": 1}], "exc_module": "builtins"}
    failed = outcome_of(meta("FAILURE", wrong, "Traceback"))
    assert isinstance(failed, Failed) and not failed.retry and failed.reason is Reason.ERROR
    assert (failed.error.type, failed.error.message, failed.error.traceback) == (
        "ValueError",
        'no, {"n":1}',
        "Traceback",
    )
    for kind, reason in (
        ("TimeLimitExceeded", Reason.TIMEOUT),
        ("SoftTimeLimitExceeded", Reason.TIMEOUT),
        ("WorkerLostError", Reason.WORKER_LOST),
        ("anything", Reason.ERROR),
    ):
        ended = outcome_of(meta("FAILURE", {"exc_type": kind, "exc_message": "x"}))
        assert isinstance(ended, Failed) and ended.reason is reason
    for status in ("REVOKED", "REJECTED", "IGNORED", "UNREADABLE"):
        ended = outcome_of(meta(status))
        assert isinstance(ended, Failed) and not ended.retry and ended.error.message


def test_each_attempt_has_one_message_and_the_first_has_the_id_of_its_task() -> None:
    task_id = "8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34"
    ids = [message_id_of(task_id, attempt) for attempt in (1, 2, 3, 2)]
    assert ids[0] == task_id and ids[1] == ids[3] and len(set(ids)) == 3
