"""One SQLite file, one owner, one writer thread."""
