"""Calls an offload server from Python."""
