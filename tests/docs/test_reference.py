"""The reference is complete: it is what the code says, and every code, setting, metric and flag is in it."""

import json
import re
import subprocess
import sys

import msgspec

from offload.core import errors
from offload.engine.herald import Message
from offload.http.problems import PROBLEMS
from offload.settings import SPECS
from tests.docs.pages import ROOT, blocks

REFERENCE = ROOT / "docs" / "reference"


def test_the_generated_parts_are_what_the_code_says() -> None:
    checked = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_error_code_is_documented() -> None:
    page = (REFERENCE / "errors.md").read_text()
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = {kind.code for kind in kinds if issubclass(kind, errors.OffloadError)}
    missing = sorted(code for code in raised | set(PROBLEMS) if f"`{code}`" not in page and code != "OffloadError")
    # two are spelt in the code otherwise than the class is called
    assert not [code for code in missing if code not in ("Rejected",)], f"docs/reference/errors.md lacks {missing}"


def test_every_setting_is_documented() -> None:
    page = (REFERENCE / "settings.md").read_text()
    assert not (missing := [name for name in SPECS if f"`{name}`" not in page]), f"settings.md lacks {missing}"


def test_every_metric_of_the_code_is_documented() -> None:
    page = (REFERENCE / "metrics.md").read_text()
    source = (ROOT / "src/offload/http/metrics.py").read_text()
    names = set(re.findall(r'"(offload_[a-z_]+)"', source))
    missing = sorted(name for name in names if f"`{name}`" not in page and f"`{name}_total`" not in page)
    assert names and not missing, f"metrics.md lacks {missing}"


def test_every_flag_of_every_command_is_documented() -> None:
    page = (REFERENCE / "cli.md").read_text() + (REFERENCE / "settings.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "src/offload/cli").glob("*.py"))
    flags = set(re.findall(r'add_argument\([^)]*?"(--[a-z-]+)"', sources))
    assert flags and not (missing := sorted(flag for flag in flags if flag not in page)), f"cli.md lacks {missing}"


def test_the_message_of_a_task_that_is_shown_has_the_fields_of_one() -> None:
    (shown,) = (block for block in blocks(ROOT / "docs/how-to/amqp-workers.md") if block.language == "json")
    fields = msgspec.structs.fields(Message)
    needed = {field.encode_name for field in fields if field.required}
    assert needed <= set(json.loads(shown.text)) <= {field.encode_name for field in fields}
