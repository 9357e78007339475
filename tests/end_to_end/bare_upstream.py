"""A small HTTP server of the standard library alone, for tests of `offload proxy`."""

import http.server
import os
import sys
import time
from pathlib import Path

BINARY = bytes(range(256)) * 2000


class Answers(http.server.BaseHTTPRequestHandler):
    """One method for every path, told as raw as possible."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/slow":
            until = time.monotonic() + 1
            while time.monotonic() < until:
                time.sleep(0.05)
            self.tell(201, b"slow, " + (self.headers["Authorization"] or "").encode())
        elif path == "/cookies":
            self.tell(
                200, b"two", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Hop", "1"), ("Connection", "x-hop")
            )
        elif path == "/binary":
            self.tell(200, BINARY, ("Content-Type", "application/x-blob"), ("Content-Encoding", "gzip"))
        elif path == "/away":
            self.tell(302, b"", ("Location", "/elsewhere"))
        elif path == "/unchanged":
            self.tell(304, b"", ("ETag", '"1"'))
        elif path == "/empty":
            self.tell(204, b"")
        elif path == "/fault":
            self.tell(503, b"later", ("Retry-After", "7"))
        elif path == "/stream":
            self.stream([b"%d," % number * 500 for number in range(100)])
        elif path == "/cut":
            self.tell(200, b"half", ("Content-Length", "100"))
            self.close_connection = True
        elif path == "/mark":
            self.mark()
        else:
            self.tell(404, b"nothing at " + self.path.encode())

    do_HEAD = do_DELETE = do_GET

    def do_POST(self) -> None:
        body = self.read_body()
        told = [f"{self.command} {self.path}", *(f"{name.lower()}: {value}" for name, value in self.headers.items())]
        self.tell(200, "\n".join(sorted(told)).encode("latin-1") + b"\n\n" + body)

    do_PUT = do_POST

    def read_body(self) -> bytes:
        if "chunked" not in (self.headers["Transfer-Encoding"] or ""):
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def tell(self, status: int, body: bytes, *fields: tuple[str, str]) -> None:
        self.send_response_only(status)
        if not any(name == "Content-Length" for name, _ in fields) and status not in (204, 304):
            fields = (*fields, ("Content-Length", str(len(body))))
        for name, value in (("Server", "bare"), ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), *fields):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stream(self, parts: list[bytes]) -> None:
        self.send_response_only(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def mark(self) -> None:
        """Say that it runs, then wait until told to go on."""
        place = Path(os.environ["MARKS"])
        with (place / "runs").open("a") as file:
            file.write("run\n")
        while not (place / "go").exists():
            time.sleep(0.02)
        self.tell(200, b"went on")

    def log_message(self, format: str, *values: object) -> None:
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answers)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
