"""Figures: what this server does on the machine at hand. Never part of the tests."""
