"""Keeps: where tasks are recorded."""
