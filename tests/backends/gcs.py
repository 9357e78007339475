"""A stand-in for Google Cloud Storage: its XML interface over a private S3 server, and its way to prove who asks.

The two interfaces have the same requests and answers, save for the names of some fields; the proof is another one.
"""

import base64
import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

import obstore
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from obstore.store import GCSStore

from offload.blobs.presign import Credentials, presign
from tests.backends.s3 import ACCESS_KEY, S3, SECRET_KEY

BUCKET = "offload-gcs-test"
WHO = Credentials(access_key=ACCESS_KEY, secret_key=SECRET_KEY, region="us-east-1")
RENAMED = {"x-goog-copy-source": "x-amz-copy-source"}
KEPT = ("content-type", "content-length", "range", "if-match", "if-none-match")
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access denied.</Message></Error>"


class Gcs:
    """Answers on a free port with what the S3 server holds; `environ` names the key file of a service account."""

    def __init__(self, server: S3, folder: Path) -> None:
        self.server = server
        self._key: rsa.RSAPrivateKey
        self._key_file = folder / "service-account.json"
        gcs = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                gcs.answer(self)

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 (so the library calls them)

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self._front = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._front.daemon_threads = True
        self._thread = threading.Thread(target=self._front.serve_forever, args=(0.05,))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._front.server_address[1]}"

    @property
    def url(self) -> str:
        """Return what `--blobs` takes."""
        return f"gs://{BUCKET}/some/prefix?endpoint={self.endpoint}"

    @property
    def environ(self) -> dict[str, str]:
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(self._key_file)}

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> Self:
        self.server.start()
        return self

    def store(self, prefix: str | None = None) -> GCSStore:
        """Return a client of the library's own: what a test sees with it is not what our adapter says."""
        config = {"base_url": self.endpoint, "application_credentials": str(self._key_file)}
        return GCSStore(BUCKET, prefix=prefix, config=config, client_options={"allow_http": True})  # type: ignore[arg-type]

    def names(self) -> list[str]:
        """Return every object in the bucket."""
        return sorted(found["path"] for found in obstore.list(self.server.store(BUCKET)).collect())

    def unfinished(self) -> list[str]:
        return self.server.unfinished(BUCKET)

    def answer(self, asked: BaseHTTPRequestHandler) -> None:
        length = int(asked.headers.get("Content-Length") or 0)
        if len(body := asked.rfile.read(length)) < length:
            return  # whoever asked has hung up
        if not self._knows(asked.headers.get("Authorization") or ""):
            self._say(asked, 401, [("Content-Type", "application/xml")], DENIED)
            return
        parts = urlsplit(asked.path)
        plain = self.server.endpoint + unquote(parts.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        given = {name.lower(): value for name, value in asked.headers.items()}
        renamed = {RENAMED[name]: value for name, value in given.items() if name in RENAMED}
        fields = renamed | {name: value for name, value in given.items() if name in KEPT}
        address = presign(asked.command, plain, WHO, now=time.time(), seconds=60, query=query, headers=renamed)
        there = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        try:
            there.request(asked.command, address.removeprefix(self.server.endpoint), body, fields)
            answer = there.getresponse()
            self._say(asked, answer.status, answer.getheaders(), answer.read())
        except (http.client.HTTPException, ConnectionError):
            asked.close_connection = True
        finally:
            there.close()

    def _knows(self, authorization: str) -> bool:
        """Tell whether a request brings a token that the service account has signed."""
        signed, _, signature = authorization.removeprefix("Bearer ").rpartition(".")
        try:
            self._key.public_key().verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            return bool(json.loads(_decoded(signed.partition(".")[2]))["exp"] > time.time())
        except (InvalidSignature, ValueError, KeyError):
            return False

    def _say(self, asked: BaseHTTPRequestHandler, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        asked.send_response_only(status)
        told = {name.lower(): value for name, value in fields}
        for name, value in told.items():
            if name not in ("transfer-encoding", "connection", "content-length"):
                asked.send_header(name, value)
        asked.send_header(
            "content-length", told.get("content-length", "0") if asked.command == "HEAD" else str(len(body))
        )
        asked.end_headers()
        if asked.command != "HEAD":
            asked.wfile.write(body)

    def __enter__(self) -> Self:
        self._key = new_service_account(self._key_file)
        self.server.make_bucket(BUCKET)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._front.shutdown()
        self._front.server_close()
        self._thread.join()


def new_service_account(key_file: Path) -> rsa.RSAPrivateKey:
    """Write the key file of an account that nobody knows yet, and return its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    account = {"type": "service_account", "client_email": "tests@example.com", "private_key_id": "1",
               "private_key": pem.decode()}  # fmt: skip
    key_file.write_text(json.dumps(account))
    return key


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
