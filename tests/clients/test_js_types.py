"""What TypeScript hears of the JavaScript client: right uses pass, wrong ones do not, nothing is missing."""

import re
import subprocess

from tests.clients.test_js import CLIENT
from tests.tools import node, tsc

STRICT = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom,dom.iterable"]
RESOLVED = ["--module", "node16", "--moduleResolution", "node16"]
NAMES = """
import * as all from "./client/offload.js";
console.log(Object.getOwnPropertyNames(all.Offload.prototype).filter((name) => name !== "constructor").sort().join());
console.log(Object.keys(all).sort().join());
"""


def test_typescript_takes_what_is_right_and_refuses_what_is_wrong() -> None:
    done = subprocess.run(
        [tsc(), *STRICT, *RESOLVED, "test/types.ts"], cwd=CLIENT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_name_what_there_is() -> None:
    done = subprocess.run(
        [node(), "--input-type=module", "--eval", NAMES], cwd=CLIENT, capture_output=True, text=True, timeout=60
    )
    methods, exported = done.stdout.splitlines()
    told = (CLIENT / "client" / "offload.d.ts").read_text()
    of_the_class = told[told.index("export class Offload {") :]
    assert set(re.findall(r"^  (?!constructor)(\w+)\(", of_the_class, re.MULTILINE)) == set(methods.split(","))
    told += (CLIENT / "client.d.ts").read_text()
    assert set(re.findall(r"^export (?:class|function) (\w+)", told, re.MULTILINE)) == set(exported.split(","))
