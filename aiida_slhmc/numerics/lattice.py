"""A fixed lattice for positions and momenta, so that a trajectory reverses to the bit."""

from __future__ import annotations

import numpy as np

from .potential import Array

#: Spacing of the lattice, in Å for positions and in ASE's momentum unit for momenta. A power of two, so that lattice
#: points and their sums are exact in double precision; and coarser than the 14 significant digits that AiiDA stores
#: (below 1000 Å), so that snapping a stored state recovers it to the bit.
SPACING = 2.0**-36

#: Half of 2^53 spacings, in the same units: sums of lattice points are exact in double precision up to twice this.
RANGE = 2.0**16


def snap(values: Array) -> Array:
    """Round values to the nearest lattice points; an odd function, so that reversed momenta give reversed increments.

    :param values: of any shape, in Å or in ASE's momentum unit.
    """
    # Division and multiplication by a power of two are exact.
    return np.asarray(np.rint(np.asarray(values, dtype=np.float64) / SPACING) * SPACING)


def inside(values: Array) -> bool:
    """Return whether all values are finite and small enough for the lattice to be exact.

    :param values: of any shape, in Å or in ASE's momentum unit.
    """
    # The largest of values with a NaN is NaN, and that compares as false.
    return bool(np.abs(values).max() < RANGE)
