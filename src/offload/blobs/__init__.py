"""Holds bytes by name."""
