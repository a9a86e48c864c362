"""A MACE model with what identifies it: weights hash, elements, cut-off, versions, parent."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from aiida import orm

from . import trust

#: The file's name inside the node: fixed, since AiiDA's hash of a repository includes names.
FILENAME = "model.model"


class MaceModelData(orm.SinglefileData):
    """Hold the weights file of a MACE model.

    The file is a pickle: loading it runs what it says. It is described (and so loaded) when the node is made, and
    after that only by the tasks that compute with it, which get it from :meth:`local_path`: of a file that was neither
    made here nor comes with the package only if the user trusts it (:mod:`aiida_slhmc.data.trust`).

    :param file: path to the ``.model`` file, or an open binary file.
    :param description: what :func:`aiida_slhmc.worker.models.describe` says of it; without it the file is described
        here, which needs the extra ``[worker]``.
    :param parent: ``state_sha256`` of the model that this one was fine-tuned from.
    """

    #: SHA-256 of the file that the node was made of here, and of that which it holds.
    _made: str | None = None
    _found: str | None = None

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
        content = Path(file).read_bytes() if isinstance(file, (str, Path)) else file.read()
        if description is None:
            description = _describe(content)
        self.set_file(io.BytesIO(content), filename=FILENAME)
        # A node from the database, or a copy of one, was not made here: it does not come this way.
        self._made = hashlib.sha256(content).hexdigest()
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

    def store(self) -> MaceModelData:
        """Store the node; a file that this process made or was given is trusted from here on."""
        new = not self.is_stored
        super().store()
        if new and self._made is not None:
            trust.trust([self._made], why=trust.MADE)
        return self

    @property
    def file_sha256(self) -> str:
        """Return the SHA-256 of the file as it is, whatever the description says."""
        if self._found is None:
            self._found = hashlib.sha256(self._content()).hexdigest()
        return self._found

    def _content(self) -> bytes:
        # By its fixed name: the attribute 'filename' of a foreign node may say anything.
        return self.base.repository.get_object_content(FILENAME, mode="rb")

    def require_trust(self) -> None:
        """Refuse a file that may not be loaded here.

        :raises Untrusted: if it was not made here and the user has not said that it is trusted, or if it is another one
            than the description names.
        """
        name = f"the model <{self.pk}> ({self.uuid})"
        recorded = self.description.get("file_sha256")
        if recorded is not None and recorded != self.file_sha256:
            raise trust.Untrusted(
                f"{name} holds another file than it was stored with: its SHA-256 is not the recorded one."
            )
        if self.file_sha256 != self._made:
            trust.require(self.file_sha256, name)

    @contextmanager
    def local_path(self) -> Iterator[Path]:
        """Give the weights file a path on this machine for as long as the context lasts.

        :raises Untrusted: as :meth:`require_trust`.
        """
        self.require_trust()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILENAME
            path.write_bytes(self._content())
            yield path


def _describe(content: bytes) -> dict[str, Any]:
    """Describe a weights file by loading it.

    :param content: of the file.
    :returns: the description.
    """
    from aiida_slhmc.worker.models import describe

    with tempfile.NamedTemporaryFile(suffix=".model") as handle:
        handle.write(content)
        handle.flush()
        return dict(describe(Path(handle.name)))
