"""Decides: pure and synchronous, no I/O, no clock."""
