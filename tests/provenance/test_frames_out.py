"""The labelled frames of a run as files: every float to the bit, with role, kind and label."""

import numpy as np
import yaml
from ase.io import read

from aiida_slhmc.data.frames import REQUIRED
from aiida_slhmc.provenance.frames_out import frame_sets, level_text, write_frames, write_levels
from aiida_slhmc.targets.level import level_hash
from tests.fixtures import RIGHT, einstein


def test_a_run_has_a_dataset_and_the_labels_of_production(trained_run):
    sets = dict(frame_sets(trained_run))
    assert set(sets) == {"dataset", "production"}
    chunks = sets["dataset"]
    assert [node.uuid for node, _ in chunks] == [node.uuid for node in trained_run.outputs.dataset.frames()]
    roles = {0: "train", 1: "valid", 2: "test"}
    assert [role for _, part in chunks for role in part] == [
        roles[int(value)] for split in trained_run.outputs.dataset.splits for value in split
    ]
    ((production, part),) = sets["production"]
    assert production.uuid == trained_run.outputs.production.uuid
    assert set(part) == {"production"}


def test_frames_are_written_to_the_bit(trained_run, tmp_path):
    chunks = dict(frame_sets(trained_run))["dataset"]
    assert write_frames(chunks, tmp_path / "dataset.xyz") == trained_run.outputs.dataset.n_frames
    frames = read(tmp_path / "dataset.xyz", index=":")
    rows = [(chunk, row, role) for chunk, roles in chunks for row, role in enumerate(roles)]
    kinds = set()
    for atoms, (chunk, row, role) in zip(frames, rows, strict=True):
        assert np.array_equal(atoms.positions, chunk.get_array("positions")[row])
        assert np.array_equal(atoms.cell[:], chunk.get_array("cells")[row])
        assert np.array_equal(atoms.get_forces(), chunk.get_array("forces")[row])
        assert atoms.get_potential_energy() == chunk.get_array("energies")[row]
        assert atoms.info["label_uuid"] == chunk.label_uuids[row]
        assert atoms.info["level_hash"] == chunk.level_hash == level_hash(einstein(RIGHT))
        assert atoms.info["role"] == role
        assert float(atoms.info["delta"]) == chunk.get_array("delta")[row] or np.isnan(chunk.get_array("delta")[row])
        kinds.add(atoms.info["kind"])
    assert kinds <= {"start", "accepted", "rejected"}
    assert "accepted" in kinds or "rejected" in kinds


def test_frames_whose_place_is_not_known_say_so(trained_run, tmp_path):
    class Plain:
        """Frames of labels alone."""

        level_hash = "0" * 64

        def __init__(self, chunk):
            self.arrays = {name: chunk.get_array(name)[:1] for name in REQUIRED}
            self.label_uuids, self.n_frames = chunk.label_uuids[:1], 1

    chunk = trained_run.outputs.dataset.frames()[0]
    assert write_frames([(Plain(chunk), ["train"])], tmp_path / "plain.xyz") == 1
    (atoms,) = read(tmp_path / "plain.xyz", index=":")
    assert atoms.info["kind"] == "unknown"
    assert "delta" not in atoms.info


def test_levels_are_written_with_their_hash(trained_run, tmp_path):
    (path,) = write_levels(trained_run.outputs.dataset.frames(), tmp_path)
    expected = level_hash(einstein(RIGHT))
    assert path.name == f"level-{expected[:12]}.yaml"
    text = path.read_text()
    assert text.startswith(f"# level of theory, content hash (SHA-256) {expected}\n")
    # What is read back is the level that has this hash.
    assert level_hash(yaml.safe_load(text)) == expected
    assert level_text({**yaml.safe_load(text), "level_hash": expected, "labels": 3}) == text
