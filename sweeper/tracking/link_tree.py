"""A folder shown in a second place without a second copy: weights of gigabytes are kept once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link_tree(source: Path, target: Path) -> None:
    """Hard links every file of `source` below `target`; copies where the file system can't.

    What is already at `target` under the same name is replaced, the rest stays.
    """
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another device, or a file system without links
        shutil.copy2(source, target)
