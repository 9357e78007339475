"""The flags of commands that talk to a server."""

import argparse
import os

from offload.client import Client
from offload.core.errors import WrongSetting

URL = "http://127.0.0.1:8000"
RETRIES = 4
"""Fewer than a program would make: somebody looks at the terminal."""


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help=f"the server's address (default: OFFLOAD_URL, else {URL})")
    parser.add_argument("--key", help="the API key; other users of this machine see flags: better set OFFLOAD_API_KEY")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=30.0, help="how long one request may take (default: 30)"
    )


def connect(options: argparse.Namespace) -> Client:
    """Return a client of the server that the flags or the environment name."""
    try:
        return Client(
            options.url or os.environ.get("OFFLOAD_URL") or URL,
            timeout_seconds=options.timeout,
            retries=RETRIES,
            api_key=options.key or os.environ.get("OFFLOAD_API_KEY") or None,
        )
    except ValueError as error:
        raise WrongSetting(str(error)) from None
