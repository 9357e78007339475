"""Back pressure says no in time, and says only what it knows."""

import pytest

from offload.core.admission import Capacity, Load, RateMeter, admit, eta_seconds, poll_seconds
from offload.core.errors import QueueFull


def test_the_last_place_is_given_and_the_next_refused() -> None:
    capacity = Capacity(tasks_max=3)
    admit("images", Load(tasks=2, bytes=0), capacity)
    with pytest.raises(QueueFull) as refused:
        admit("images", Load(tasks=3, bytes=0), capacity)
    assert refused.value.fields == {"limit": 3}


def test_a_full_queue_names_the_time_its_drain_rate_needs() -> None:
    load = Load(tasks=10, bytes=0, drain_per_second=0.5)
    with pytest.raises(QueueFull) as refused:
        admit("images", load, Capacity(tasks_max=10), tasks=2)
    assert refused.value.retry_seconds == 4


def test_bytes_are_a_limit_of_their_own() -> None:
    capacity = Capacity(bytes_max=1000)
    admit("images", Load(tasks=1, bytes=600), capacity, body_bytes=400)
    with pytest.raises(QueueFull, match="600 of at most 1,000 bytes"):
        admit("images", Load(tasks=1, bytes=600), capacity, body_bytes=401)


def test_a_body_larger_than_the_whole_queue_is_refused_even_when_it_is_empty() -> None:
    with pytest.raises(QueueFull):
        admit("images", Load(tasks=0, bytes=0, drain_per_second=1.0), Capacity(bytes_max=10), body_bytes=11)


def test_a_wait_longer_than_wanted_is_refused_only_when_the_rate_is_known() -> None:
    capacity = Capacity(wait_seconds_max=5.0)
    admit("images", Load(tasks=100, bytes=0), capacity)
    admit("images", Load(tasks=100, bytes=0, drain_per_second=20.0), capacity)
    with pytest.raises(QueueFull) as refused:
        admit("images", Load(tasks=100, bytes=0, drain_per_second=10.0), capacity)
    assert refused.value.retry_seconds == 5


def test_too_few_samples_are_no_estimate() -> None:
    meter = RateMeter()
    meter.add(0.0, 4)
    assert meter.per_second(1.0, samples_min=5) is None
    meter.add(1.0)
    assert meter.per_second(1.0, samples_min=5) == 5.0


def test_a_rate_forgets_what_is_older_than_its_window() -> None:
    meter = RateMeter()
    for second in range(1000):
        meter.add(float(second), 2)
    assert meter.per_second(999.0) == pytest.approx(2.0)
    assert len(meter._counts) <= 62
    assert meter.per_second(2000.0) is None


def test_an_unknown_rate_gives_no_eta() -> None:
    assert eta_seconds(10, None) is None
    assert eta_seconds(10, 0.0) is None
    assert eta_seconds(10, 4.0) == 2.5


@pytest.mark.parametrize(
    ("eta", "waited", "hint"), [(0.2, 0, 1), (12.1, 0, 13), (500.0, 0, 30), (None, 0, 1), (None, 20, 10)]
)
def test_a_polling_hint_lies_between_1_and_30_seconds(eta: float | None, waited: float, hint: int) -> None:
    assert poll_seconds(eta, waited) == hint
