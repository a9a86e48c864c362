"""Frames of anybody's files, one at a time: extended XYZ, VASP's output, trajectories, whatever ASE reads."""

from __future__ import annotations

import lzma
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from ase.io import ParseError, iread
from ase.io.formats import UnknownFileTypeError, filetype, get_compression, ioformats, open_with_compression
from ase.io.vasp import iread_vasp_out, read_vasp_xdatcar, read_vasp_xml

#: Files of a folder of VASP's that hold frames, the one that says most first; each may be compressed.
VASP_FILES = ("vasprun.xml", "XDATCAR", "OUTCAR")
SUFFIXES = ("", ".gz", ".bz2", ".xz")
#: Where energy, forces and stress are looked for, where nothing else is said. The free energy is the one that the
#: forces are the gradient of.
KEYS = {"energy": ("free_energy", "energy"), "forces": ("forces",), "stress": ("stress",)}
#: What readers raise at files that are not what their names say.
READ_ERRORS = (
    ParseError, ElementTree.ParseError, UnknownFileTypeError, ValueError, LookupError, OSError, AttributeError,
    TypeError, AssertionError, NameError, EOFError, ImportError, RuntimeError, zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip
#: Lines of a XDATCAR before the first configuration.
XDATCAR_HEADER = 7
#: Fewest characters of a reason that a message is worth.
REASON = 160


@dataclass
class FrameFile:
    """Give the frames of a file one after the other, each time it is gone through; none is kept.

    Of VASP's files vasprun.xml, XDATCAR and OUTCAR, of extended XYZ and of ASE's trajectories one frame is in memory at
    a time; of other formats as many as ASE's reader keeps.

    :param path: the file, compressed (.gz, .bz2, .xz) or not; or a folder of VASP's.
    :param discard: frames left out at the beginning.
    :param every: of the others every how manieth is taken.
    :param notes: what a reader should know, found while reading.
    :raises ValueError: while reading, in one sentence: if there is no such file, or it cannot be read.
    """

    path: Path
    discard: int = 0
    every: int = 1
    notes: list[str] = field(default_factory=list, repr=False)

    @property
    def name(self) -> str:
        """Return the file's name without folder and endings; a folder of VASP's goes by its own."""
        if self.path.is_dir():
            return self.path.resolve().name
        stem = Path(get_compression(self.path.name)[0])
        return stem.stem or stem.name

    def __iter__(self) -> Iterator[Atoms]:
        path = located(self.path)
        number = self.discard
        frames = self._frames(path)
        while True:
            try:
                atoms = next(frames)
            except StopIteration:
                return
            except UnknownFileTypeError as error:
                what = "is empty" if not path.stat().st_size else "is of no kind that ASE knows"
                raise ValueError(f"'{self.path}' {what}.") from error
            except READ_ERRORS as error:
                what = f"frame {number} of '{self.path}'" if number > self.discard else f"'{self.path}'"
                raise ValueError(f"{what} cannot be read: {reason(error)}.") from error
            yield checked(atoms, f"frame {number} of '{self.path}'")
            # Not held while the next one is read.
            del atoms
            number += self.every

    def _frames(self, path: Path) -> Iterator[Atoms]:
        kind = filetype(str(path))
        readers = {"vasp-xml": self._vasprun, "vasp-xdatcar": _xdatcar, "vasp-out": _outcar}
        if kind in readers:
            yield from islice(readers[kind](path), self.discard, None, self.every)
        elif kind in ioformats and ioformats[kind].single:
            one = iread(str(path), format=kind, do_not_split_by_at_sign=True)
            yield from islice(one, self.discard, None, self.every)
        else:
            # A name with an @ is a name, not a range of frames.
            part = slice(self.discard, None, self.every)
            yield from iread(str(path), index=part, format=kind, do_not_split_by_at_sign=True)

    def _vasprun(self, path: Path) -> Iterator[Atoms]:
        frames = 0
        with _opened(path, "rb") as stream:
            try:
                for frame in _vasprun(stream):
                    yield frame
                    frames += 1
            except ElementTree.ParseError as error:
                if not frames:
                    raise
                note = f"'{self.path}' is cut short ({error}): its {frames} whole steps are taken"
                if note not in self.notes:
                    self.notes.append(note)


def located(path: Path) -> Path:
    """Return the file that holds the frames.

    :param path: a file, or a folder of VASP's.
    :raises ValueError: if there is none.
    """
    if path.is_dir():
        for name in VASP_FILES:
            for suffix in SUFFIXES:
                if (path / f"{name}{suffix}").is_file():
                    return path / f"{name}{suffix}"
        raise ValueError(f"the folder '{path}' holds no {', '.join(VASP_FILES[:-1])} or {VASP_FILES[-1]}.")
    if not path.is_file():
        raise ValueError(f"there is no file '{path}'.")
    return path


def reason(error: BaseException) -> str:
    """Return in a few words what a reader complained of.

    :param error: what it raised.
    """
    text = " ".join(str(error).split())[:REASON].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def checked(atoms: Atoms, where: str) -> Atoms:
    """Return a frame that can be analysed.

    :param atoms: the frame.
    :param where: its name, for messages.
    :raises ValueError: without an atom, with coordinates that are not finite, or a periodic cell without a volume.
    """
    if not len(atoms):
        raise ValueError(f"{where} has no atoms.")
    cell = np.asarray(atoms.cell[:], dtype=np.float64)
    if not (np.isfinite(atoms.positions).all() and np.isfinite(cell).all()):
        raise ValueError(f"{where} has a coordinate that is not finite.")
    if not np.linalg.norm(cell[atoms.pbc], axis=1).all() or (atoms.pbc.all() and abs(np.linalg.det(cell)) < 1e-6):
        raise ValueError(f"{where} is periodic, but its cell has no volume.")
    return atoms


def find_property(atoms: Atoms, names: Sequence[str]) -> Any:
    """Return the first of some properties that a frame has, wherever ASE's reader put it; None if it has none.

    :param atoms: the frame.
    :param names: of the property, such as ``free_energy`` and ``energy``.
    """
    results = getattr(atoms.calc, "results", {})
    for name in names:
        for place in (results, atoms.info, atoms.arrays):
            if name in place and place[name] is not None:
                return place[name]
    return None


def _opened(path: Path, mode: str) -> IO[Any]:
    return open_with_compression(str(path), mode)  # type: ignore[no-any-return]


def _outcar(path: Path) -> Iterator[Atoms]:
    with _opened(path, "r") as stream:
        yield from iread_vasp_out(stream, index=slice(None))


def _xdatcar(path: Path) -> Iterator[Atoms]:
    """Give ASE's reader, which would keep all configurations, one after the other."""
    with _opened(path, "r") as stream:
        header: list[str] = []
        line = stream.readline()
        while line.strip():
            if "configuration=" not in line:
                # A cell that moves: a header stands before every configuration.
                header = [line, *islice(stream, XDATCAR_HEADER - 1)]
                line = stream.readline()
            if len(header) < XDATCAR_HEADER or "configuration=" not in line:
                raise ValueError("this is no XDATCAR")
            n_atoms = sum(int(count) for count in header[-1].split())
            rows = list(islice(stream, n_atoms))
            if len(rows) < n_atoms:
                raise ValueError(f"the configuration ends after {len(rows)} of {n_atoms} atoms")
            yield read_vasp_xdatcar(StringIO("".join([*header, line, *rows])), index=0)
            line = stream.readline()


def _vasprun(stream: IO[bytes]) -> Iterator[Atoms]:
    """Give ASE's reader, which would keep all steps, one after the other, without bands and densities of states."""
    root: ElementTree.Element | None = None
    header: list[ElementTree.Element] = []
    for event, element in ElementTree.iterparse(stream, events=("start", "end")):
        if root is None:
            root = element
        if event == "start":
            continue
        if element.tag in ("eigenvalues", "projected", "dos", "kpoints"):
            element.clear()
        elif element.tag == "parameters":
            pressure = [item for item in element.iter("i") if item.attrib.get("name") == "PSTRESS"]
            header.append(_element("parameters", pressure))
            root.clear()
        elif element.tag == "atominfo" or element.attrib.get("name") == "initialpos":
            header.append(element)
        elif element.tag == "calculation":
            for part in element.findall("eigenvalues") + element.findall("dos") + element.findall("projected"):
                element.remove(part)
            document = _element("modeling", [_element("kpoints", []), *header, element])
            yield next(iter(read_vasp_xml(BytesIO(ElementTree.tostring(document)), index=0)))
            root.clear()


def _element(tag: str, children: Sequence[ElementTree.Element]) -> ElementTree.Element:
    element = ElementTree.Element(tag)
    element.extend(children)
    return element
