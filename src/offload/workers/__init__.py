"""Runs user code in processes of its own."""
