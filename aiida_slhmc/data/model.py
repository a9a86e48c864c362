"""A MACE model with what identifies it: weights hash, elements, cut-off, versions, parent."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from aiida import orm

#: The file's name inside the node: fixed, since AiiDA's hash of a repository includes names.
FILENAME = "model.model"


class MaceModelData(orm.SinglefileData):
    """Hold the weights file of a MACE model.

    The file is a pickle: loading it runs what it says. It is described (and so loaded) when the node is made, and
    after that only by the tasks that compute with it.

    :param file: path to the ``.model`` file, or an open binary file.
    :param description: what :func:`aiida_slhmc.worker.models.describe` says of it; without it the file is described
        here, which needs the extra ``[worker]``.
    :param parent: ``state_sha256`` of the model that this one was fine-tuned from.
    """

    def __init__(
        self,
        file: str | Path | BinaryIO | None = None,
        description: Mapping[str, Any] | None = None,
        parent: str | None = None,
        **kwargs: Any,
    ):
        kwargs.pop("filename", None)
        super().__init__(**kwargs)
        if file is None:
            return
        if description is None:
            description = _describe(file)
        if isinstance(file, (str, Path)):
            self.set_file(str(Path(file).resolve()), filename=FILENAME)
        else:
            self.set_file(file, filename=FILENAME)
        # AiiDA stores no mapping with integer keys, and no tuple.
        self.base.attributes.set("description", {**dict(description), "parent_state_sha256": parent})

    @property
    def description(self) -> dict[str, Any]:
        """Return what identifies the model."""
        return dict(self.base.attributes.get("description"))

    @property
    def state_sha256(self) -> str:
        """Return the SHA-256 of the sorted state dict."""
        return str(self.description["state_sha256"])

    @property
    def atomic_numbers(self) -> list[int]:
        """Return the atomic numbers that the model knows."""
        return [int(number) for number in self.description["atomic_numbers"]]

    @contextmanager
    def local_path(self) -> Iterator[Path]:
        """Give the weights file a path on this machine for as long as the context lasts."""
        with self.as_path() as path:
            yield Path(path)


def _describe(file: str | Path | BinaryIO) -> dict[str, Any]:
    """Describe a weights file by loading it.

    :param file: path or open binary file, left at its start.
    :returns: the description.
    """
    from aiida_slhmc.worker.models import describe

    if isinstance(file, (str, Path)):
        return dict(describe(Path(file)))
    with tempfile.NamedTemporaryFile(suffix=".model") as handle:
        handle.write(file.read())
        handle.flush()
        file.seek(0)
        return dict(describe(Path(handle.name)))
