"""The JavaScript of a page as a script for Node: with the real client, against the server of that page."""

import re

from tests.docs.pages import ROOT

CLIENT = ROOT / "clients" / "js"
MODULES = {
    "/client.js": CLIENT / "client.js",
    "/client/offload.js": CLIENT / "client" / "offload.js",
    "offload-client": CLIENT / "client" / "offload.js",
}
IMPORT = re.compile(r'^import (\{[^}]*\}) from "([^"]+)";(?: *//.*)?$', re.MULTILINE)
AROUND = """
const file = new File(["the cat and the dog\\n"], "text.txt", {{ type: "text/plain" }});
const fileInput = {{ files: [file] }};
const controller = new AbortController();
const {{ signal }} = controller;
const show = () => {{}};
const task = {{ links: {{ events: `{base}/v1/tasks/${{process.env.TASK}}/events` }} }};
"""
"""What the page of a reader has already: a chosen file, a way to stop, and so on."""


def script_of(text: str, address: str) -> str:
    """Return a block as a module of its own; addresses of the page's origin become those of the server."""
    base = f"http://{address}"
    imports = "".join(f'import {names} from "{MODULES[place].as_uri()}";\n' for names, place in IMPORT.findall(text))
    body = IMPORT.sub("", text).replace('"/v1/', f'"{base}/v1/').replace('new Offload("/"', f'new Offload("{base}/"')
    return f"{imports}{AROUND.format(base=base)}{{\n{body}\n}}\n"
