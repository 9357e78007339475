"""Does: asynchronous, sees only core and ports."""
