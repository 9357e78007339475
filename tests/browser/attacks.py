"""What a page of another origin can try, as scripts for that page."""

import uuid
from typing import Any

CHANGE = """async ([base, targets]) => {
    const frames = [], quiet = (promise) => Promise.resolve(promise).then((found) => found.type, (error) => error.name);
    const patience = () => ({ signal: AbortSignal.timeout(20000) });
    const form = (url, enctype, fields) => new Promise((over) => {
        const make = (tag, attributes) => Object.assign(document.createElement(tag), attributes);
        const frame = make("iframe", { name: `f${frames.length}` });
        const sent = make("form", { method: "POST", action: url, enctype, target: frame.name });
        for (const [name, value] of fields) sent.append(make("input", { name, value }));
        frames.push(frame);
        document.body.append(frame, sent);
        frame.onload = over;
        setTimeout(over, 20000);
        sent.submit();
    });
    const told = [];
    for (const { method, path, body, fields } of targets) {
        const url = base + path, json = { "Content-Type": "application/json" };
        const data = new FormData();
        for (const [name, value] of fields) data.append(name, value);
        const ways = [quiet(fetch(url, { method, body, headers: json, credentials: "include", ...patience() }))];
        if (method === "POST") {
            const blind = { method, mode: "no-cors", credentials: "include", ...patience() };
            navigator.sendBeacon(url, body);
            navigator.sendBeacon(url, new URLSearchParams(fields));
            ways.push(
                quiet(fetch(url, { ...blind, body })),
                quiet(fetch(url, { ...blind, body: new URLSearchParams(fields) })),
                quiet(fetch(url, { ...blind, body: data })),
                quiet(fetch(url, { ...blind, body: new Blob(["x"], { type: "image/png" }) })),
                quiet(fetch(url, { ...blind, body, keepalive: true })),
                quiet(fetch(url, { method, headers: { "X-HTTP-Method-Override": "DELETE" }, ...patience() })),
                form(url, "text/plain", [[body.slice(0, -1) + ',"x":"', '"}']]),
                form(url, "multipart/form-data", fields),
                form(url, "application/x-www-form-urlencoded", [...fields, ["_method", "DELETE"]]),
            );
        }
        told.push(...(await Promise.all(ways)));
        for (const frame of frames.splice(0)) frame.remove();
    }
    return told.filter((each) => each !== undefined);
}"""

READ = """async ([base, paths]) => {
    const read = [];
    const tag = (name, attributes) => new Promise((over) => {
        const element = Object.assign(document.createElement(name), attributes);
        element.onload = () => over("loaded");
        element.onerror = () => over("error");
        document.body.append(element);
        setTimeout(() => over("silent"), 20000);
    });
    for (const path of paths) {
        const url = base + path, signal = AbortSignal.timeout(20000);
        const text = async (answer) => {
            const said = await answer.then((found) => found.text()).catch(() => "");
            if (said) read.push([path, said]);
        };
        const stream = new EventSource(url, { withCredentials: true });
        const streamed = new Promise((over) => {
            stream.onopen = stream.onmessage = () => over(read.push([path, "stream"]));
            stream.onerror = over;
        }).then(() => stream.close());
        const seen = (kind) => (how) => how === "loaded" && read.push([path, kind]);
        await Promise.all([
            streamed,
            text(fetch(url, { credentials: "include", signal })),
            text(fetch(url, { mode: "no-cors", signal })),
            tag("script", { src: url }).then(seen("script")), tag("img", { src: url }).then(seen("picture")),
            tag("link", { rel: "stylesheet", href: url }).then(seen("style")),
            tag("video", { src: url, crossOrigin: null }).then(seen("video")),
        ]);
    }
    return read;
}"""


def changes(later: str, created: str, failed: str, done: str) -> list[dict[str, Any]]:
    """Return requests that each change something when they are let through."""
    batch = '{"tasks": [{"job": "add", "input": {"a": 1, "b": 2}}]}'
    sums = '{"job": "add", "input": {"a": 1, "b": 2}, "run": true}'
    targets: tuple[tuple[str, str, str | None, list[list[str]]], ...] = (
        ("POST", "/v1/jobs/add", '{"a": 1, "b": 2}', [["a", "1"], ["b", "2"]]),
        ("POST", "/v1/jobs/add?a=1&b=2", "{}", []),
        ("POST", "/v1/jobs/shout", "{}", [["document", "data:text/plain,x"]]),
        ("POST", "/v1/tasks", sums, []),
        ("POST", "/v1/tasks/batch", batch, []),
        ("PUT", f"/v1/tasks/{uuid.uuid4()}", sums, []),
        ("POST", f"/v1/tasks/{later}/cancel", "{}", []),
        ("POST", f"/v1/tasks/{created}/run", "{}", []),
        ("POST", f"/v1/tasks/{failed}/retry", "{}", []),
        ("DELETE", f"/v1/tasks/{done}", None, []),
        ("POST", "/v1/files", "{}", [["file", "x"]]),
        ("POST", "/v1/queues/default/pause", "{}", []),
        ("PUT", "/v1/schedules/often", '{"job": "add", "input": {"a": 1, "b": 2}, "every": 1}', []),
        ("POST", "/v1/callbacks/secret/rotate", "{}", []),
        ("POST", "/v1/leases", '{"queues": ["default"]}', []),
        ("POST", "/v1/keys", '{"owner": "evil", "scopes": ["admin"]}', []),
    )
    names = ("method", "path", "body", "fields")
    return [dict(zip(names, target, strict=True)) for target in targets]
