"""Frames of files: every format as ASE reads it, one frame in memory at a time, one sentence for bad ones."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from aiida_slhmc.analysis import files
from aiida_slhmc.analysis.files import FrameFile, find_property

REAL = Path(__file__).parents[1] / "vasp" / "real"
KEPT = ("energy", "free_energy", "forces", "stress")


def salt(count: int = 6) -> list[Atoms]:
    """Return rattled rock salt of a cell that moves, with energies."""
    frames = []
    for index in range(count):
        atoms = bulk("NaCl", "rocksalt", 5.6 + 0.01 * index, cubic=True)
        # Sorted: XDATCAR has one block an element.
        atoms = atoms[np.argsort(atoms.numbers, kind="stable")]
        atoms.rattle(0.05, seed=index)
        atoms.calc = SinglePointCalculator(atoms, energy=-27.0 - index, forces=np.full((8, 3), 0.1 * index))
        frames.append(atoms)
    return frames


def same(one: Atoms, other: Atoms, tolerance: float) -> None:
    np.testing.assert_array_equal(one.numbers, other.numbers)
    np.testing.assert_allclose(one.cell[:], other.cell[:], atol=tolerance)
    difference = one.get_scaled_positions(wrap=False) - other.get_scaled_positions(wrap=False)
    np.testing.assert_allclose(difference - np.round(difference), 0.0, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "kind", "tolerance"),
    [
        ("a.extxyz", "extxyz", 1e-7),
        ("a.traj", "traj", 1e-12),
        ("XDATCAR", "vasp-xdatcar", 1e-6),
        ("a@1.xyz", "extxyz", 1e-7),
    ],
)
def test_every_frame_comes_in_its_order(tmp_path, name, kind, tolerance):
    frames = salt()
    write(tmp_path / "written", frames, format=kind)
    (tmp_path / "written").rename(tmp_path / name)
    found = list(FrameFile(tmp_path / name))
    assert len(found) == len(frames)
    for one, other in zip(found, frames, strict=True):
        same(one, other, tolerance)
    # From the third on, every second.
    part = list(FrameFile(tmp_path / name, 2, 2))
    assert len(part) == 2
    same(part[0], frames[2], tolerance)
    same(part[1], frames[4], tolerance)
    if kind != "vasp-xdatcar":
        assert [find_property(atoms, ("free_energy", "energy")) for atoms in part] == [-29.0, -31.0]


@pytest.mark.parametrize(("ending", "module"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
@pytest.mark.parametrize("kind", ["extxyz", "vasp-xdatcar"])
def test_compressed_files(tmp_path, ending, module, kind):
    name = {"extxyz": "run.extxyz", "vasp-xdatcar": "XDATCAR"}[kind]
    write(tmp_path / name, salt(), format=kind)
    packed = tmp_path / f"{name}{ending}"
    packed.write_bytes(module.compress((tmp_path / name).read_bytes()))
    (tmp_path / name).unlink()
    assert len(list(FrameFile(packed))) == 6
    assert FrameFile(packed).name == {"extxyz": "run", "vasp-xdatcar": "XDATCAR"}[kind]


def test_a_xdatcar_of_a_fixed_cell(tmp_path):
    """One header for all configurations."""
    frames = salt(3)
    for atoms in frames:
        atoms.set_cell(frames[0].cell, scale_atoms=True)
    header = ["salt", "1.0", *(" ".join(map(str, row)) for row in frames[0].cell[:]), "Na Cl", "4 4"]
    lines = list(header)
    for index, atoms in enumerate(frames):
        lines.append(f"Direct configuration= {index + 1:5d}")
        lines += [" ".join(f"{value:.10f}" for value in row) for row in atoms.get_scaled_positions()]
    (tmp_path / "XDATCAR").write_text("\n".join(lines) + "\n")
    found = list(FrameFile(tmp_path / "XDATCAR"))
    assert len(found) == 3
    for one, other in zip(found, frames, strict=True):
        same(one, other, 1e-9)


@pytest.mark.parametrize("run", ["converged", "version-6"])
@pytest.mark.parametrize("name", ["vasprun.xml.gz", "OUTCAR.gz"])
def test_output_of_vasp_is_what_ase_reads(run, name):
    (one,), (other,) = list(FrameFile(REAL / run / name)), read(REAL / run / name, index=":")
    same(one, other, 1e-12)
    for key in KEPT:
        np.testing.assert_allclose(one.calc.results[key], other.calc.results[key], rtol=1e-12)


def many_steps(path: Path, count: int) -> Path:
    """Write a vasprun.xml of many steps, from a real one of one step."""
    text = gzip.decompress((REAL / "converged" / "vasprun.xml.gz").read_bytes()).decode()
    before, step, after = re.split(r"( <calculation>.*</calculation>\n)", text, flags=re.DOTALL)
    path.write_text(before + step * count + after)
    return path


def test_a_vasprun_of_many_steps_is_not_held(tmp_path):
    peaks = []
    for count in (5, 60):
        path = many_steps(tmp_path / f"{count}-vasprun.xml", count)
        tracemalloc.start()
        assert sum(1 for _ in FrameFile(path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_a_vasprun_that_is_cut_short_says_so(tmp_path):
    path = many_steps(tmp_path / "vasprun.xml", 4)
    text = path.read_text()
    path.write_text(text[: text.rindex("</calculation>")])
    file = FrameFile(path)
    assert len(list(file)) == len(list(file)) == 3
    assert len(file.notes) == 1
    assert "cut short" in file.notes[0]
    assert "3 whole steps" in file.notes[0]


@pytest.mark.parametrize("kind", ["extxyz", "traj", "vasp-xdatcar"])
def test_one_frame_is_alive_at_a_time(tmp_path, monkeypatch, kind):
    path = tmp_path / ("XDATCAR" if kind == "vasp-xdatcar" else "many")
    write(path, salt(40), format=kind)
    alive: weakref.WeakSet[Atoms] = weakref.WeakSet()
    most = []

    def counted(atoms, where, check=files.checked):
        alive.add(atoms)
        most.append(len(alive))
        return check(atoms, where)

    # Atoms compare by value: the set must go by identity.
    monkeypatch.setattr(Atoms, "__hash__", object.__hash__)
    monkeypatch.setattr(Atoms, "__eq__", object.__eq__)
    monkeypatch.setattr(files, "checked", counted)
    for atoms in FrameFile(path):
        assert len(atoms) == 8
    assert len(most) == 40
    assert max(most) <= 2
    # The measure would see frames that are kept.
    assert len(list(FrameFile(path))) == 40
    assert max(most) >= 40


def test_a_folder_of_vasp(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match=r"the folder '.*run' holds no vasprun.xml, XDATCAR or OUTCAR"):
        list(FrameFile(tmp_path / "run"))
    write(tmp_path / "run" / "XDATCAR", salt(2), format="vasp-xdatcar")
    file = FrameFile(tmp_path / "run")
    assert file.name == "run"
    assert len(list(file)) == 2


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file '.*none.xyz'"):
        list(FrameFile(tmp_path / "none.xyz"))
    for name, content in {
        "words.xyz": b"two words\n",
        "noise.traj": b"\x00\x01\x02",
        "XDATCAR": b"no configuration\n",
        "vasprun.xml": b"<modeling><generator>",
        "damaged.xyz.gz": gzip.compress(bytes(range(256)) * 3)[:120],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"'.*{re.escape(name)}' cannot be read: .*"):
            list(FrameFile(tmp_path / name))


def test_files_of_no_kind(tmp_path):
    for name, content, words in (
        ("empty.xyz", b"", "is empty"),
        ("notes.csv", b"some words\n", "no kind that ASE knows"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"'.*{re.escape(name)}' .*{words}"):
            list(FrameFile(tmp_path / name))


def test_frames_that_cannot_be_analysed_are_named(tmp_path):
    lines = ["1", 'Lattice="4 0 0 0 4 0 0 0 4" pbc="T T T"', "H 0 0 0"]
    faults = {"H nan 0 0": "not finite", "Lattice": "no volume"}
    for fault, words in faults.items():
        bad = [*lines[:2], fault] if fault.startswith("H") else [lines[0], lines[1].replace("4", "0"), lines[2]]
        path = tmp_path / "frames.xyz"
        path.write_text("\n".join([*lines, *bad]) + "\n")
        with pytest.raises(ValueError, match=rf"frame 1 of '.*frames.xyz' .*{words}"):
            list(FrameFile(path))
    path.write_text("\n".join([*lines, "2", "", "H 0 0 0", "H 0 0"]) + "\n")
    with pytest.raises(ValueError, match=r"frame 1 of '.*frames.xyz' cannot be read"):
        list(FrameFile(path))


def test_molecules_and_atoms_are_frames(tmp_path):
    write(tmp_path / "m.xyz", [molecule("H2O"), Atoms("O")], format="extxyz")
    water, atom = FrameFile(tmp_path / "m.xyz")
    assert len(water) == 3
    assert not atom.pbc.any()
