"""Brokers: they carry tokens between nodes, and know nothing of tasks."""
