"""The command line."""

from offload.cli.main import main

__all__ = ["main"]
