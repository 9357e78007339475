"""The clock of a node: it never goes back, takes jumps late, and follows the store's time once it knows that."""

import pytest

from offload import clock
from offload.clock import SteadyClock


class Time:
    """A machine's two clocks, set by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_000_000.0, 50.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def pass_seconds(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Time:
    machine = Time()
    monkeypatch.setattr(clock, "time", machine)
    return machine


def test_a_jump_of_the_wall_clock_is_taken_over_only_after_it_has_lasted(machine: Time) -> None:
    it = SteadyClock()
    machine.wall += 5000
    assert (it.follow(), it.now()) == (0.0, 1_000_000.0)
    machine.pass_seconds(61)
    assert (it.follow(), it.now()) == (5000.0, 1_005_061.0)


def test_drift_is_taken_over_forward_at_once_and_backward_without_ever_going_back(machine: Time) -> None:
    it = SteadyClock()
    machine.wall += 0.5
    assert (it.follow(), it.now()) == (0.0, 1_000_000.5)
    machine.wall -= 0.4
    before = it.now()
    assert it.follow() == 0.0
    assert it.now() == before
    for _ in range(10):
        machine.pass_seconds(10)
        it.follow()
        assert it.now() > before
        before = it.now()
    assert abs(it.now() - machine.wall) < 0.01


def test_nodes_go_by_the_store_whatever_their_own_clocks_say(machine: Time) -> None:
    it = SteadyClock()
    it.learn(2_000_000.0 - machine.steady, 0.001)
    assert it.now() == 2_000_000.0
    machine.wall -= 300  # somebody set this machine's clock
    machine.pass_seconds(100)
    it.learn(2_000_000.2 - 50.0, 0.001)
    assert it.follow() == 0.0
    assert abs(it.now() - 2_000_100.2) < 0.001


def test_an_answer_that_took_long_is_not_believed(machine: Time) -> None:
    it = SteadyClock()
    it.learn(2_000_000.0 - machine.steady, 0.001)
    it.learn(2_000_000.9 - machine.steady, 0.9)
    it.follow()
    assert it.now() == 2_000_000.0


def test_a_machine_that_slept_is_right_again_at_once(machine: Time) -> None:
    it = SteadyClock()
    it.learn(2_000_000.0 - machine.steady, 0.001)
    machine.wall += 600  # its monotonic clock stood still meanwhile
    it.learn(2_000_600.0 - machine.steady, 0.001)
    assert it.now() == 2_000_600.0


def test_a_store_whose_clock_alone_jumps_is_not_believed_at_once(machine: Time) -> None:
    it = SteadyClock()
    it.learn(2_000_000.0 - machine.steady, 0.001)
    it.learn(2_000_600.0 - machine.steady, 0.001)
    assert (it.follow(), it.now()) == (0.0, 2_000_000.0)
    machine.pass_seconds(61)
    assert (it.follow(), it.now()) == (600.0, 2_000_661.0)
