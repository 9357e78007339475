"""Settings: four layers, each value with its source, and no mistake passes in silence."""

from pathlib import Path

import pytest

from offload.core.admission import Capacity
from offload.core.errors import WrongSetting
from offload.core.quantities import parse_bytes, parse_seconds, show_bytes, show_seconds
from offload.settings import SPECS, Settings, load_settings

NOWHERE = Path("/nonexistent")


def load(cwd: Path = NOWHERE, toml: str | None = None, environ: dict[str, str] | None = None, **flags: str) -> Settings:
    if toml is not None:
        (cwd / "offload.toml").write_text(toml)
    return load_settings(flags=flags, environ=environ or {}, cwd=cwd)


def test_defaults_stand_when_nobody_says_otherwise() -> None:
    settings = load()
    assert (settings.host, settings.port, settings.lease_seconds) == ("127.0.0.1", 8000, 30.0)
    assert settings.data == NOWHERE / ".offload"
    assert settings.sources == {}
    assert settings.capacity("any") == Capacity()


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    toml = 'port = 1\nworkers = 2\nlease_seconds = "40s"\n'
    environ = {"OFFLOAD_PORT": "3", "OFFLOAD_WORKERS": "4", "PATH": "/bin"}
    settings = load(tmp_path, toml, environ, port="5")
    assert (settings.port, settings.workers, settings.lease_seconds, settings.nice) == (5, 4, 40.0, 10)
    assert settings.sources == {
        "port": "--port", "workers": "OFFLOAD_WORKERS", "lease_seconds": "offload.toml, line 3: lease_seconds",
    }  # fmt: skip


def test_sizes_and_durations_are_read_as_people_write_them() -> None:
    settings = load(memory_bytes="512MB", result_bytes_max="1GiB", payload_seconds="2d", grace_seconds="1.5")
    assert settings.memory_bytes == 512_000_000 and settings.result_bytes_max == 2**30
    assert settings.payload_seconds == 172_800.0 and settings.grace_seconds == 1.5


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("10", 10), ("1_000", 1000), ("1k", 1000), ("1 KiB", 1024), ("1.5GiB", 3 * 2**29), ("2tb", 2 * 10**12)],
)
def test_a_size_means(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    assert parse_bytes(show_bytes(size)) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("2.5", 2.5), ("500ms", 0.5), ("30s", 30.0), ("15m", 900.0), ("1h30m", 5400.0), ("7d", 604_800.0)],
)
def test_a_duration_means(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds
    assert parse_seconds(show_seconds(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1h30", "5 parsecs", "nan", "inf", "1..2", "s"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_seconds(text)
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)


def test_an_unknown_variable_is_refused_and_told_what_is_close() -> None:
    with pytest.raises(WrongSetting, match="OFFLOAD_PROT: there is no such setting; did you mean OFFLOAD_PORT?"):
        load(environ={"OFFLOAD_PROT": "80"})


def test_an_unknown_key_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(
        WrongSetting, match="offload.toml, line 2: worker: there is no such setting; did you mean workers?"
    ):
        load(tmp_path, "port = 1\nworker = 2\n")


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(WrongSetting, match="--lease: there is no such setting"):
        load(lease="80")


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting) as caught:
        load(tmp_path, 'nice = "much"\n', {"OFFLOAD_PORT": "x"}, memory_bytes="5 parsecs")
    assert str(caught.value).splitlines() == [
        "offload.toml, line 1: nice: 'much' is not a whole number",
        "OFFLOAD_PORT: 'x' is not a whole number",
        "--memory-bytes: '5 parsecs' is not a size; write a number of bytes, or one with a unit such as 512MB or 1GiB",
    ]


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(WrongSetting, match="--port: 70000 is more than 65535"):
        load(port="70000")
    with pytest.raises(WrongSetting, match="'maybe' is none of full, relaxed"):
        load(durability="maybe")
    with pytest.raises(WrongSetting, match="nice: 99 is more than 19"):
        Settings(nice=99)
    with pytest.raises(WrongSetting, match="needs a value"):
        Settings(port=None)  # type: ignore[arg-type]


def test_the_variables_of_the_command_line_client_are_no_mistake() -> None:
    assert load(environ={"OFFLOAD_URL": "http://x", "OFFLOAD_API_KEY": "k"}).sources == {}


def test_none_switches_an_optional_limit_off() -> None:
    assert load(job_timeout_seconds="none").job_timeout_seconds is None
    with pytest.raises(WrongSetting, match="'none' is not a duration"):
        load(lease_seconds="none")


def test_a_queue_may_have_a_capacity_of_its_own(tmp_path: Path) -> None:
    toml = 'queue_tasks_max = 50\n[queues.images]\nbytes_max = "1GiB"\nwait_seconds_max = 30\n'
    settings = load(tmp_path, toml)
    assert settings.capacity("images") == Capacity(tasks_max=50, bytes_max=2**30, wait_seconds_max=30.0)
    assert settings.capacity("other") == Capacity(tasks_max=50)


def test_a_mistake_in_a_queues_table_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting) as caught:
        load(tmp_path, "[queues.images]\ntask_max = 1\nbytes_max = -1\n")
    assert str(caught.value).splitlines() == [
        "offload.toml, line 2: [queues.images] task_max: there is no such setting; did you mean tasks_max?",
        "offload.toml, line 3: [queues.images] bytes_max: -1 is less than 1",
    ]


def test_a_file_that_was_named_must_exist_and_paths_in_it_are_relative_to_it(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match=r"other\.toml: cannot be read"):
        load_settings(flags={}, environ={}, cwd=tmp_path, config=Path("other.toml"))
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "other.toml").write_text('data = "store"\n')
    settings = load_settings(flags={}, environ={"OFFLOAD_CONFIG": "conf/other.toml"}, cwd=tmp_path)
    assert settings.data == tmp_path / "conf" / "store"


def test_a_broken_file_says_where_it_is_broken(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match=r"offload\.toml: cannot be read: .*line 1"):
        load(tmp_path, "port = = 1\n")


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(WrongSetting, match="one late renewal would lose every running task"):
        load(lease_seconds="6s", heartbeat_seconds="4s")
    with pytest.raises(WrongSetting, match="the row of a task outlives its payload"):
        load(audit_seconds="1d")


def test_workers_see_ordinary_variables_and_those_that_were_named_but_never_our_own() -> None:
    environ = {"PATH": "/bin", "LC_ALL": "C", "SECRET": "s", "MODEL_KEY": "m", "OFFLOAD_API_KEY": "k"}
    assert Settings().child_environ(environ) == {"PATH": "/bin", "LC_ALL": "C"}
    assert Settings(child_env=("MODEL_*",)).child_environ(environ) == {"PATH": "/bin", "LC_ALL": "C", "MODEL_KEY": "m"}
    assert "OFFLOAD_API_KEY" not in Settings(child_env=("*",)).child_environ(environ)


def test_what_is_shown_reads_back_as_the_same_value() -> None:
    settings = Settings(child_env=("A", "B_*"), memory_bytes=512_000_000)
    for spec in SPECS.values():
        value = getattr(settings, spec.name)
        assert spec.read(spec.show(value)) == value, spec.name
        assert spec.help and spec.default is not None
