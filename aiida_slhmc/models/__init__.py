"""Foundation models that come with the package."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(file.stem for file in FOLDER.glob("*.model"))


def path(name: str) -> Path:
    """Return the file of a model that comes with the package.

    :param name: one of :func:`names`.
    :raises KeyError: if there is no model of this name.
    """
    if name not in names():
        raise KeyError(f"no model '{name}' comes with the package; there are: {', '.join(names())}")
    return FOLDER / f"{name}.model"
