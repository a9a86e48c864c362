"""VASP, through the CalcJob of aiida-vasp: docs/how-to/vasp.md and docs/decisions/0009-vasp-target.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from ase import Atoms
from ase.data import chemical_symbols, ground_state_magnetic_moments

from . import vasp_incar, vasp_potcars
from .port import atom_in_a_box, positive
from .process import ProcessTarget

#: Exit codes of aiida-vasp after which another way to converge is worth a try: electrons not converged, and errors of
#: the algorithm (BRMIX, EDDDAV, ZHEGV).
UNCONVERGED = (701, 703)
#: Digits of POSCAR: enough to give every coordinate back, so that what was labelled is what was asked for.
POSCAR_DIGITS = 16


class VaspTarget(ProcessTarget):
    """VASP with the functionals PBE, r2SCAN and HSE06; what is not given is as in the paper.

    ``potential_family`` finds the POTCARs when a run is set up. What is recorded is their content: once ``potcars`` is
    filled, the name of the family, which is a matter of the profile, falls away.
    """

    name = "vasp"
    plugin = "vasp.vasp"
    requires = "vasp"
    functionals = tuple(vasp_incar.FUNCTIONALS)
    default_functional = "PBE"
    defaults = {
        "cutoff": 520.0,  # eV
        "kpoints": [1, 1, 1],  # fixed, Γ-centred
        "smearing": 0.05,  # eV, Gaussian
        "ediff": 1e-6,  # eV
        "precision": "Accurate",
        "spin": False,
        "grid": None,  # NGX, NGY, NGZ; null: VASP's own choice, which depends on the cell
        "fine_grid": None,
        "potential_family": "PBE.54",
        "potential_mapping": {"Ti": "Ti_pv", "O": "O"},
        "potcars": {},  # SHA-512 by element
        "incar": {},  # further tags of the energy surface
    }

    # Level of theory --------------------------------------------------------------------------------------------------

    def complete(self, functional: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with every default written out, and the POTCARs by content where they are at hand.

        :param functional: its tags are written out.
        :param parameters: as the user gives them.
        """
        complete = {**self.defaults, **parameters}
        if isinstance(complete["incar"], Mapping):
            preset = {**vasp_incar.COMMON, **vasp_incar.FUNCTIONALS.get(functional, {})}
            complete["incar"] = {**preset, **vasp_incar.upper(complete["incar"])}
        grid = complete["grid"]
        if complete["fine_grid"] is None and isinstance(grid, (list, tuple)) and all(type(n) is int for n in grid):
            complete["fine_grid"] = [2 * number for number in grid]
        mapping, family, potcars = complete["potential_mapping"], complete["potential_family"], complete["potcars"]
        if _texts(mapping) and isinstance(family, str) and isinstance(potcars, Mapping):
            if parameters and not set(mapping) <= set(potcars):
                complete["potcars"] = {**vasp_potcars.resolve(family, mapping), **potcars}
            if set(mapping) <= set(complete["potcars"]):
                del complete["potential_family"]
        return complete

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        parameters = {"potential_family": "", **level.get("parameters", {})}
        super().check({**level, "parameters": parameters})
        positive(level, "cutoff", "smearing", "ediff")
        if parameters["precision"] not in ("Accurate", "Normal"):
            raise ValueError(
                f"the parameter 'precision' must be Accurate or Normal, not {parameters['precision']!r}: the others "
                "are too rough for forces."
            )
        if not isinstance(parameters["spin"], bool):
            raise ValueError(f"the parameter 'spin' must be true or false, not {parameters['spin']!r}.")
        mesh = parameters["kpoints"]
        if mesh is None:
            raise ValueError("the parameter 'kpoints' must be given: a mesh that follows the cell is no fixed surface.")
        vasp_incar.check_grid("kpoints", mesh)
        for name in ("grid", "fine_grid"):
            vasp_incar.check_grid(name, parameters[name])
        for name, what in (("potential_mapping", "names of POTCARs"), ("potcars", "SHA-512 hashes")):
            if not _texts(parameters[name]):
                raise ValueError(f"the parameter '{name}' must be a mapping of elements to {what}.")
        unknown = sorted(set(parameters["potential_mapping"]) - set(chemical_symbols[1:]))
        if unknown:
            raise ValueError(f"the parameter 'potential_mapping' names no element with '{unknown[0]}'.")
        if not isinstance(parameters["incar"], Mapping):
            raise ValueError(f"the parameter 'incar' must be a mapping of INCAR tags, not {parameters['incar']!r}.")
        vasp_incar.check_surface_tags(level["functional"], parameters["incar"])

    def validate(self, level: Mapping[str, Any], numbers: Sequence[int], cell: Any) -> None:
        """Check a level of theory against a structure.

        :param level: level of theory.
        :param numbers: atomic numbers (N,).
        :param cell: (3, 3) in Å.
        :raises ValueError: with one sentence.
        """
        super().validate(level, numbers, cell)
        parameters = level["parameters"]
        elements = {chemical_symbols[number] for number in numbers}
        lacking = sorted(elements - set(parameters["potential_mapping"]))
        if lacking:
            raise ValueError(f"the parameter 'potential_mapping' names no POTCAR for {lacking[0]}.")
        least = vasp_incar.fft_grid(cell, parameters["cutoff"], parameters["precision"])
        vasp_incar.check_grid("grid", parameters["grid"], least)

    def isolated_atom(self, level: Mapping[str, Any], number: int) -> tuple[dict[str, Any], Atoms]:
        """Return the level of theory and the structure for an isolated atom: spin-polarised, in a skewed box.

        :param level: normalised level of theory of the target.
        :param number: atomic number.
        """
        moment = float(ground_state_magnetic_moments[number])
        parameters = dict(level["parameters"])
        tags = {**parameters["incar"], "NUPDOWN": moment, "MAGMOM": [moment]}
        # Little smearing: the entropy of a half-filled shell does not belong to the energy of the atom.
        parameters |= {"spin": True, "kpoints": [1, 1, 1], "grid": None, "fine_grid": None, "smearing": 0.01}
        parameters["incar"] = tags
        return {**level, "parameters": parameters}, atom_in_a_box(number, (12.0, 12.5, 13.0))

    # Runs -------------------------------------------------------------------------------------------------------------

    def validate_run(self, level: Mapping[str, Any], structure: Any, code: Any, options: Mapping[str, Any]) -> None:
        """Check code, options and POTCARs before anything is submitted.

        :param level: normalised level of theory.
        :param structure: ``StructureData`` to label.
        :param code: of the target; None if there is none.
        :param options: of the target: scheduler options, and ``incar`` with run-only tags.
        :raises ValueError: with one sentence.
        """
        if find_spec("aiida_vasp") is None:
            raise ValueError("the engine 'vasp' needs aiida-vasp: pip install 'aiida-slhmc[vasp]'.")
        super().validate_run(level, structure, code, options)
        _, scheduler = split_options(options)
        from aiida.plugins import CalculationFactory

        known = CalculationFactory(self.plugin).spec().inputs["metadata"]["options"]
        unknown = sorted(set(scheduler) - set(known))
        if unknown:
            raise ValueError(
                f"target.options has the unknown key '{unknown[0]}': it takes AiiDA's options of a job, and 'incar' "
                "for tags such as NCORE."
            )
        mesh, executable = list(level["parameters"]["kpoints"]), str(getattr(code, "filepath_executable", ""))
        if "gam" in executable.rpartition("/")[2] and mesh != [1, 1, 1]:
            raise ValueError(
                f"target.code '{code.label}' runs {executable}, which knows Γ alone, but the mesh is {mesh}: give "
                "a code of vasp_std, or kpoints [1, 1, 1]."
            )
        self._potcars(level, structure)

    def builder(self, inputs: Mapping[str, Any], previous: Sequence[Any] = ()) -> Any:
        """Return the builder of one ``VaspCalculation``.

        :param inputs: of the ``LabelWorkChain``.
        :param previous: attempts before. After electrons that did not converge another way is tried; ENCUT, functional
            and mesh come from the level of theory alone.
        :raises ValueError: with one sentence.
        """
        from aiida import orm
        from aiida.plugins import CalculationFactory

        level, structure = inputs["target"]["level"].get_dict(), inputs["structure"]
        code = inputs["target"].get("code")
        if code is None:
            raise ValueError("target.code is missing: the engine 'vasp' needs a code for vasp.vasp.")
        run, options = split_options(inputs["target"].get("options") or {})
        builder: Any = CalculationFactory(self.plugin).get_builder()
        builder.code = code
        builder.structure = structure
        potcars = self._potcars(level, structure)
        builder.potential = {kind.name: potcars[kind.symbol] for kind in structure.kinds}
        builder.kpoints = orm.KpointsData()
        builder.kpoints.set_kpoints_mesh([int(number) for number in level["parameters"]["kpoints"]])
        restart = None if previous else usable(inputs.get("restart"), code)
        if restart is not None:
            builder.restart_folder = restart
        tags = vasp_incar.incar(
            level["functional"],
            level["parameters"],
            run,
            failures=sum(node.exit_status in UNCONVERGED for node in previous),
            keep_wavefunctions=inputs["labelling"].get_dict()["warm_start"],
            restart=restart is not None,
        )
        builder.parameters = orm.Dict(tags)
        builder.settings = orm.Dict(self.settings())
        options.setdefault("resources", {"num_machines": 1})
        timeout = inputs["failure"].get_dict().get("timeout")
        if timeout is not None:
            options.setdefault("max_wallclock_seconds", max(1, int(timeout)))
        if code.with_mpi is None:
            options.setdefault("withmpi", True)
        builder.metadata.options = options
        return builder

    @staticmethod
    def settings() -> dict[str, Any]:
        """Return the settings of aiida-vasp: what is read, and how the structure is written."""
        # Forces are the gradient of the free energy; aiida-vasp reads the energy extrapolated to no smearing. Where
        # vasprun.xml and OUTCAR are whole, a label lacks nothing; a job that was killed may lack any other file.
        parser = {"energy_type": ["energy_free", "energy_extrapolated"], "check_completeness": False}
        return {"parser_settings": parser, "poscar_precision": POSCAR_DIGITS}

    def reading(self, process: Any) -> tuple[Callable[..., Any], dict[str, Any] | None]:
        """Return the calcfunction that makes the label and what it reads.

        :param process: a terminated ``VaspCalculation``. After exit code 701 it has outputs as well: only 0 counts.
        """
        from aiida_slhmc.calculations.vasp import label_vasp

        if not process.is_finished_ok or "misc" not in process.outputs:
            return label_vasp, None
        return label_vasp, {"misc": process.outputs.misc}

    def restart_from(self, label: Any) -> Any:
        """Return the folder whose WAVECAR is that of a label.

        :param label: made by ``label_vasp``; anything else has no folder.
        """
        reader = label.creator
        if reader is None or "misc" not in reader.inputs:
            return None
        process = reader.inputs.misc.creator
        if process is None or "parameters" not in process.inputs or "remote_folder" not in process.outputs:
            return None
        return process.outputs.remote_folder if process.inputs.parameters.get_dict().get("LWAVE") else None

    def mismatch(self, inputs: Mapping[str, Any], level: Mapping[str, Any]) -> str | None:
        """Return in what a ``VaspCalculation`` was given something else than a level of theory asks for, or None.

        :param inputs: nodes by the label of their link.
        :param level: normalised level of theory.
        """
        tags = inputs["parameters"].get_dict()
        wanted = {**vasp_incar.surface(level["functional"], level["parameters"]), **vasp_incar.SINGLE_POINT}
        # What it starts from and leaves for the next does not move the ground state.
        for name in sorted((set(tags) | set(wanted)) - vasp_incar.RUN_ONLY - {"ISTART", "LWAVE"}):
            if tags.get(name) != wanted.get(name):
                return f"its tag {name} is {tags.get(name)!r}, but the level of theory asks for {wanted.get(name)!r}"
        mesh, shift = inputs["kpoints"].get_kpoints_mesh()
        if list(mesh) != list(level["parameters"]["kpoints"]) or any(shift):
            return f"its mesh is {mesh}, but the level of theory asks for {level['parameters']['kpoints']}"
        for kind in inputs["structure"].kinds:
            if inputs[f"potential__{kind.name}"].sha512 != level["parameters"]["potcars"].get(kind.symbol):
                return f"its POTCAR of {kind.name} is another than the level of theory names"
        return None

    def _potcars(self, level: Mapping[str, Any], structure: Any) -> dict[str, Any]:
        """Return the POTCARs of a structure's elements.

        :param level: normalised level of theory.
        :param structure: ``StructureData``.
        :raises ValueError: with one sentence.
        """
        parameters = level["parameters"]
        elements = sorted(structure.get_symbols_set())
        lacking = set(elements) - set(parameters["potcars"])
        if lacking:
            family = parameters.get("potential_family", self.defaults["potential_family"])
            raise ValueError(vasp_potcars.missing(family, parameters["potential_mapping"], lacking))
        return vasp_potcars.load(parameters["potcars"], elements)


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the run-only tags and the scheduler options that the target's options hold.

    :param options: of the target.
    :raises ValueError: for a tag that is not run-only.
    """
    scheduler = {key: value for key, value in options.items() if key != "incar"}
    return vasp_incar.check_run_tags(options.get("incar") or {}), scheduler


def usable(restart: Any, code: Any) -> Any:
    """Return a folder if a job of a code can start from it, else None.

    :param restart: ``RemoteData`` or None.
    :param code: of the job.
    """
    if restart is None or restart.is_cleaned or restart.computer.pk != code.computer.pk:
        return None
    return restart


def _texts(value: Any) -> bool:
    """Return whether a value is a mapping of texts to texts.

    :param value: any.
    """
    return isinstance(value, Mapping) and all(isinstance(item, str) for pair in value.items() for item in pair)
