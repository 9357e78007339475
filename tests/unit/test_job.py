"""A mark changes nothing; the catalog reads what was marked and names every problem at once."""

import functools
import inspect
import types
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import msgspec
import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

import offload
from offload.core.catalog import Catalog
from offload.core.errors import JobDoesNotExist, WrongJob
from offload.core.files import File
from offload.core.job import Kind, job
from offload.core.retry import Retry
from offload.workers.context import Context

if TYPE_CHECKING:
    from decimal import Decimal


class Picture(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    pixels: Image.Image


class Point(msgspec.Struct):
    x: int


class Album(BaseModel):
    pages: list[File] = []


@job
def resize(image: File, width: int, *, ctx: Context) -> File:
    """Resize an image.

    Keeps its proportions.
    """
    return image


@job(name="fetch-all", queue="net", timeout=5, retry=Retry(max_attempts=1), concurrency=7, priority=-3)
async def fetch(urls: list[str], ctx: Context | None = None) -> list[int]:
    return []


@job(
    memory="1GiB",
    recycle_memory=1000,
    result_bytes_max="64kB",
    log_bytes_max="1MB",
    grace=0,
    workers=2,
    recycle_tasks=9,
)
def pages(count: int) -> Iterator[str]:
    yield ""


@job
async def ticks() -> AsyncIterator[int]:
    yield 1


@job(workers=1)
class SpeechToText:
    """Transcribe."""

    def __init__(self, model: str = "small") -> None:
        self.model = model

    def __call__(self, audio: File, language: str = "en") -> str:
        return language


def problems(*functions: Any) -> list[str]:
    """Return what is wrong with these, without the place."""
    with pytest.raises(WrongJob) as found:
        Catalog.of_jobs(*(job(function) for function in functions))
    return [problem.partition(": ")[2] for problem in found.value.problems]


def test_a_marked_function_is_the_same_object_and_still_callable() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    assert job(add) is add and job(queue="x")(add) is add
    assert add(1, 2) == 3
    assert isinstance(SpeechToText("big"), SpeechToText)


def test_the_catalog_holds_what_was_marked_in_order() -> None:
    module = types.ModuleType("gallery")
    vars(module).update(pages=pages, resize=resize, again=resize, plain=len, SpeechToText=SpeechToText, n=3)
    catalog = Catalog.of(module)
    assert list(catalog.jobs) == ["pages", "resize", "speech_to_text"]
    assert [found.qualname for found in catalog] == ["pages", "resize", "SpeechToText"] and len(catalog) == 3
    assert catalog.find("resize").target is resize
    with pytest.raises(JobDoesNotExist, match="this server has pages, resize, speech_to_text"):
        catalog.find("risize")


def test_the_catalog_cannot_be_changed() -> None:
    catalog = Catalog.of_jobs(resize)
    with pytest.raises(TypeError):
        catalog.jobs["x"] = catalog.find("resize")  # type: ignore[index]


def test_queues_are_known_with_their_jobs() -> None:
    catalog = Catalog.of_jobs(resize, fetch, pages)
    assert catalog.queues == ("default", "net")
    assert [found.name for found in catalog.of_queue("default")] == ["resize", "pages"]
    assert catalog.of_queue("none") == ()


def test_defaults_leave_the_limits_to_the_server() -> None:
    found = Catalog.of_jobs(resize).find("resize")
    assert (found.queue, found.priority, found.retry, found.concurrency) == ("default", 0, Retry(), 1)
    limits = (found.timeout_seconds, found.memory_bytes, found.workers, found.recycle_tasks, found.grace_seconds)
    assert limits == (None,) * 5 and found.recycle_memory_bytes is found.result_bytes_max is found.log_bytes_max is None


def test_options_arrive_in_seconds_and_bytes() -> None:
    net = Catalog.of_jobs(fetch).find("fetch-all")
    assert (net.queue, net.timeout_seconds, net.retry.max_attempts, net.concurrency, net.priority) == (
        "net",
        5.0,
        1,
        7,
        -3,
    )
    found = Catalog.of_jobs(pages).find("pages")
    assert (found.memory_bytes, found.recycle_memory_bytes, found.result_bytes_max) == (1 << 30, 1000, 64_000)
    assert (found.log_bytes_max, found.grace_seconds, found.workers, found.recycle_tasks) == (1_000_000, 0.0, 2, 9)


def test_the_kind_is_read_from_the_function_or_the_call_of_a_class() -> None:
    kinds = {
        found.name: (found.kind, found.is_class) for found in Catalog.of_jobs(resize, fetch, pages, ticks, SpeechToText)
    }
    assert kinds == {
        "resize": (Kind.FUNCTION, False),
        "fetch-all": (Kind.ASYNC, False),
        "pages": (Kind.GENERATOR, False),
        "ticks": (Kind.ASYNC_GENERATOR, False),
        "speech_to_text": (Kind.FUNCTION, True),
    }
    assert Catalog.of_jobs(ticks).find("ticks").concurrency == 100


def test_the_description_is_the_docstring() -> None:
    catalog = Catalog.of_jobs(resize, SpeechToText, fetch)
    assert catalog.find("resize").description == "Resize an image.\n\nKeeps its proportions."
    assert catalog.find("speech_to_text").description == "Transcribe."
    assert catalog.find("fetch-all").description == ""


def test_the_context_is_found_by_its_type_and_hidden_from_clients() -> None:
    catalog = Catalog.of_jobs(resize, fetch, pages)
    assert [found.takes_context for found in catalog] == ["ctx", "ctx", None]
    assert "ctx" not in catalog.find("resize").schema.input["properties"]


def test_self_is_no_parameter_of_a_class() -> None:
    assert list(Catalog.of_jobs(SpeechToText).find("speech_to_text").schema.input["properties"]) == [
        "audio",
        "language",
    ]


def test_a_subclass_of_a_marked_class_is_not_marked() -> None:
    class Mine(SpeechToText):
        pass

    module = types.ModuleType("m")
    vars(module).update(Mine=Mine)
    assert len(Catalog.of(module)) == 0
    with pytest.raises(WrongJob, match=r"Mine: it is not marked with @offload\.job"):
        Catalog.of_jobs(Mine)


def test_a_wrapped_job_keeps_its_signature() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **given: Any) -> Any:
            return function(*args, **given)

        return wrapper

    wrapped = logged(job(lambda_free))
    found = Catalog.of_jobs(wrapped).find("lambda_free")
    assert found.target is wrapped and list(found.schema.input["properties"]) == ["a"]


def lambda_free(a: int) -> int:
    return a


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": 0}, "timeout=0 is wrong: it takes a number of seconds above 0"),
        ({"timeout": "1m"}, "timeout='1m' is wrong"),
        ({"timeout": float("nan")}, "timeout=nan is wrong"),
        ({"timeout": True}, "timeout=True is wrong"),
        ({"grace": -1}, "grace=-1 is wrong: it takes a number of seconds, 0 or more"),
        ({"queue": "My Queue"}, "queue='My Queue' is wrong: it takes a name of lower-case letters"),
        ({"name": "a" * 65}, "at most 64 characters"),
        ({"name": ""}, "name='' is wrong"),
        ({"workers": 0}, "workers=0 is wrong: it takes a whole number from 1 to 1024"),
        ({"workers": 1.5}, "workers=1.5 is wrong"),
        ({"priority": 101}, "priority=101 is wrong: it takes a whole number from -100 to 100"),
        ({"memory": "lots"}, "memory='lots' is wrong: it takes a size such as \"512MB\""),
        ({"memory": 0}, "memory=0 is wrong"),
        ({"memory": 1.5}, "memory=1.5 is wrong"),
        ({"retry": 3}, "retry=3 is wrong: it takes offload.Retry(max_attempts=…)"),
        ({"time_out": 3}, "there is no option time_out; did you mean timeout?"),
    ],
)
def test_a_wrong_option_is_said_at_once_with_its_place(options: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongJob) as found:
        job(**options)(lambda_free)
    assert says in str(found.value)
    line = inspect.getsourcelines(lambda_free)[1]
    assert str(found.value).startswith(f"{__file__}:{line} lambda_free(): ") or f"test_job.py:{line} " in str(
        found.value
    )


def test_all_wrong_options_are_said_together() -> None:
    with pytest.raises(WrongJob) as found:
        job(timeout=-1, workers=-1, memory="")(lambda_free)
    assert len(found.value.problems) == 3


@pytest.mark.parametrize("thing", [3, "add", len, functools.partial(lambda_free, 1)])
def test_only_functions_and_classes_can_be_marked(thing: Any) -> None:
    with pytest.raises(WrongJob, match="marks a function or a class"):
        job(thing)


def test_parameters_that_no_client_can_name_are_refused() -> None:
    def many(a: int, /, *rest: int, **more: int) -> None: ...

    assert problems(many) == [
        "parameter 'a' is positional-only, but inputs are given by name; remove the / after it",
        "*rest has no names for a client to use; take a list parameter instead",
        "**more takes anything; name each parameter, or take one parameter of type dict",
    ]


def test_parameters_that_json_cannot_hold_are_refused_with_what_would_work() -> None:
    def odd(
        *,
        image: Image.Image,
        stack: list[Image.Image],
        picture: Picture,
        data: np.ndarray,
        point: Point,
        stream: BinaryIO,
        path: Path | None,
        call: Callable[[], int],
        renamed: Annotated[int, Field(alias="other")],
    ) -> None: ...

    file = "use offload.File for a file, or a type that pydantic can check"
    found = problems(odd)
    assert found[0] == f"parameter 'image' has type PIL.Image.Image, which cannot be read from JSON; {file}"
    inside = "list[PIL.Image.Image], and PIL.Image.Image in it cannot be read from JSON"
    assert found[1] == f"parameter 'stack' has type {inside}; {file}"
    assert found[2].endswith(f"Picture, and PIL.Image.Image in it cannot be read from JSON; {file}")
    assert "numpy.ndarray" in found[3] and found[3].endswith("use list[float], or offload.File for an array in a file")
    assert found[4].endswith("use a pydantic model or a dataclass with the same fields")
    assert found[5].endswith("use offload.File, and its .open()")
    assert found[6].endswith("but a client cannot name a file of the server; use offload.File, which is a path too")
    assert "'call'" in found[7] and "'renamed' has an alias" in found[8] and len(found) == 9


def test_results_that_cannot_be_sent_are_refused_with_what_would_work() -> None:
    def picture() -> Image.Image:
        raise AssertionError

    def several() -> list[File]:
        raise AssertionError

    def album() -> Album:
        raise AssertionError

    def raw() -> bytes:
        raise AssertionError

    def array() -> np.ndarray:
        raise AssertionError

    def files() -> Iterator[File]:
        yield File(b"")

    found = problems(picture, several, album, raw, array, files)
    assert found[0].startswith("it returns PIL.Image.Image, which cannot be written as JSON; return offload.File")
    either = "but a result is either one File or JSON without files; return one File, such as a zip of several"
    assert found[1].endswith(either) and found[2].endswith(either)
    assert found[3] == 'it returns bytes, which JSON cannot hold; return offload.File(data, name="…")'
    assert "numpy.ndarray" in found[4]
    assert found[5].startswith("it yields offload.core.files.File, but what a generator yields is JSON")


def test_an_annotation_that_is_only_imported_for_type_checking_is_named() -> None:
    def price(amount: "Decimal") -> None: ...

    [found] = problems(price)
    assert found.startswith("an annotation names 'Decimal'") and "outside `if TYPE_CHECKING`" in found


def test_an_annotation_that_cannot_be_read_is_named() -> None:
    def price(amount: "list[") -> None: ...  # type: ignore[valid-type]  # noqa: F722

    [found] = problems(price)
    assert found.startswith("its annotations cannot be read: SyntaxError")


def test_two_defaults_are_one_too_many() -> None:
    def both(n: Annotated[int, Field(default=4)] = 7) -> None: ...

    assert problems(both) == ["parameter 'n' has two defaults, 7 and in its Field; keep one"]


def test_two_contexts_are_one_too_many() -> None:
    def both(a: Context, b: Context) -> None: ...

    assert problems(both) == ["parameters 'a' and 'b' both ask for the Context; keep one"]


def test_a_name_that_no_address_can_hold_is_refused() -> None:
    def Résumé() -> None: ...

    [found] = problems(Résumé)
    assert "must match 'Résumé'" in found and 'say @job(name="…")' in found


def test_a_class_must_be_callable_and_built_without_arguments() -> None:
    class Bare:
        pass

    class Fed:
        def __init__(self, path: str, *rest: int, size: int = 1) -> None: ...
        def __call__(self) -> None: ...

    assert problems(Bare, Fed) == [
        "a class needs a __call__ method to be a job",
        "__init__ must work without arguments, but wants path",
    ]


def test_concurrency_is_for_async_jobs() -> None:
    with pytest.raises(WrongJob, match="concurrency is for async jobs"):
        Catalog.of_jobs(job(concurrency=2)(lambda_free))
    job(lambda_free)


def test_two_jobs_of_one_name_are_refused_with_both_places() -> None:
    @job(name="lambda_free")
    def other() -> None: ...

    with pytest.raises(WrongJob, match=r"other\(\): job 'lambda_free' is also .*lambda_free\(\); rename one"):
        Catalog.of_jobs(job(lambda_free), other)


def test_the_public_names_are_there_and_nothing_else_is() -> None:
    for name in offload.__all__:
        if name not in ("Client", "AsyncClient"):
            assert getattr(offload, name) is not None
    assert offload.TaskFailed.code == "TaskFailed"
    assert {"job", "File", "Context"} <= set(dir(offload))
    with pytest.raises(AttributeError, match="no attribute 'jub'"):
        _ = offload.jub
