"""The dataset: a manifest of chunks with a frozen train/valid/test assignment."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from numpy.typing import NDArray

from .frames import FramesData

#: Codes of the assignment of a frame.
TRAIN, VALID, TEST = 0, 1, 2


class DatasetData(orm.Data):
    """Name the chunks of a growing dataset and say which frame serves what.

    The frames stay in their :class:`FramesData` nodes, each stored once; the manifest holds their content hashes and
    the assignment of every frame (0 train, 1 valid, 2 test), which never changes once made. Made only by the
    calcfunction ``extend``, which links it to the previous dataset and the new chunk.

    :param chunks: a list of ``{"content_sha256": str, "n_frames": int, "level_hash": str, "split": [int, ...]}``.
    :param chunk_uuids: UUIDs of the chunk nodes, in the same order; not part of the hash.
    """

    _hash_ignored_attributes = ("chunk_uuids",)

    def __init__(self, chunks: list[dict[str, Any]] | None = None, chunk_uuids: list[str] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if chunks is not None:
            self.base.attributes.set_many(
                {
                    "chunks": chunks,
                    "chunk_uuids": list(chunk_uuids or []),
                    "n_frames": sum(chunk["n_frames"] for chunk in chunks),
                }
            )

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """Return the manifest, one entry a chunk."""
        return list(self.base.attributes.get("chunks"))

    @property
    def chunk_uuids(self) -> list[str]:
        """Return the UUIDs of the chunk nodes."""
        return list(self.base.attributes.get("chunk_uuids"))

    @property
    def n_frames(self) -> int:
        """Return the number of frames over all chunks."""
        return int(self.base.attributes.get("n_frames"))

    @property
    def splits(self) -> list[NDArray[np.int64]]:
        """Return the assignment of the frames, one array a chunk."""
        return [np.asarray(chunk["split"], dtype=np.int64) for chunk in self.chunks]

    def frames(self) -> list[FramesData]:
        """Return the chunk nodes.

        :raises aiida.common.NotExistent: if a chunk is not in the profile.
        :raises ValueError: if a chunk's content is not what the manifest says.
        """
        nodes = []
        for chunk, uuid in zip(self.chunks, self.chunk_uuids, strict=True):
            node = orm.load_node(uuid)
            if node.content_sha256 != chunk["content_sha256"]:
                raise ValueError(
                    f"chunk {uuid} of dataset {self.uuid} does not have the content that the manifest names"
                )
            nodes.append(node)
        return nodes
