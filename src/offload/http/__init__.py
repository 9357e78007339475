"""Answers: the HTTP contract over the engine."""
