"""What lies in a directory that others write to meanwhile."""

import os
from pathlib import Path


def files_below(root: Path) -> list[str]:
    """Return every file, by its path from the root; a directory that goes away in that moment is no error."""
    return sorted(
        os.path.relpath(os.path.join(above, name), root) for above, _, names in os.walk(root) for name in names
    )
