"""A Django application in one file, for tests that wrap it."""

import sys
import time
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

if not settings.configured:
    settings.configure(
        DEBUG=False, SECRET_KEY="for tests", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"], USE_TZ=True,
    )  # fmt: skip
    django.setup()


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("django\n")


def slow(request: HttpRequest) -> JsonResponse:
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        time.sleep(0.05)
    return JsonResponse(
        {"method": request.method, "fields": dict(request.POST.lists()), "user": request.META.get("USER")}
    )


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(b"%d;" % part for part in range(1000))


def cookies(request: HttpRequest) -> HttpResponse:
    answer = HttpResponse("two cookies", status=201)
    answer.set_cookie("a", "1")
    answer.set_cookie("b", "2")
    return answer


def missing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=404)


urlpatterns: list[Any] = [
    path("", home), path("slow/", slow), path("stream", stream), path("cookies", cookies), path("missing", missing),
]  # fmt: skip
assert __name__ in sys.modules
application = WSGIHandler()
