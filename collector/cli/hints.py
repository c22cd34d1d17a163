"""Sentences about what a person may have overlooked."""

from __future__ import annotations

from collector.places import Folder


def still_held(folder: Folder) -> list[str]:
    """Return a line for each folder that a restore set aside: erased people may be in it."""
    return [
        f"{path} still holds what was there before the restore; remove it when you no longer"
        " need it.\n"
        for path in folder.set_aside()
    ]
