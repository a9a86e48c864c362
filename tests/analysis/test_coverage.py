"""Q and T² in closed form, and SOAP of rutile: order of elements, symmetry, what is covered and what is not."""

import numpy as np
import pytest

from aiida_slhmc.analysis.coverage import Reference, Settings, Subspace, descriptors
from aiida_slhmc.workflows.runfile import rutile

pytest.importorskip("dscribe", reason="dscribe is not installed: pip install 'aiida-slhmc[worker]'")

SMALL = Settings(r_cut=4.0, n_max=4, l_max=3)


def frames(count=6, amplitude=0.05, seed=0, scale=1.0):
    """Return rattled rutile as arrays."""
    rng = np.random.default_rng(seed)
    atoms = rutile()
    atoms.set_cell(atoms.cell[:] * scale, scale_atoms=True)
    moved = [atoms.positions + rng.normal(0.0, amplitude, (6, 3)) for _ in range(count)]
    return {
        "numbers": np.tile(atoms.numbers, (count, 1)),
        "positions": np.array(moved),
        "cells": np.tile(atoms.cell[:], (count, 1, 1)),
        "pbc": np.ones((count, 3), dtype=bool),
    }


def test_three_points_on_a_line():
    """The mean is (2, 0), the axis (1, 0), the variance 4: worked by hand."""
    subspace = Subspace.fit([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]], 1)
    np.testing.assert_allclose(subspace.mean, [2.0, 0.0])
    np.testing.assert_allclose(np.abs(subspace.axes), [[1.0, 0.0]])
    np.testing.assert_allclose(subspace.variances, [4.0])
    points = [[3.0, 2.0], [10.0, 0.0]]
    np.testing.assert_allclose(subspace.q(points), [4.0, 0.0], atol=1e-12)
    # Q says nothing of a point far out along the line; T² does.
    np.testing.assert_allclose(subspace.t2(points), [0.25, 16.0])


def test_components_without_variance_are_left_out():
    subspace = Subspace.fit([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]], 2)
    assert subspace.axes.shape == (1, 2)
    assert np.isfinite(subspace.t2([[3.0, 2.0]])).all()
    assert Subspace.fit(np.zeros((3, 2)), 2).q([[1.0, 0.0]]) == pytest.approx(1.0)


def test_parts_of_the_variance_in_many_dimensions(rng):
    """Over the points themselves T² has the mean k (n - 1)/n, and Q the variance that is left."""
    points = rng.normal(size=(200, 9)) * np.linspace(3.0, 0.5, 9)
    subspace = Subspace.fit(points, 4)
    assert subspace.t2(points).mean() == pytest.approx(4 * 199 / 200)
    total = points.var(axis=0, ddof=1).sum()
    assert subspace.q(points).sum() / 199 == pytest.approx(total - subspace.variances.sum())


def test_the_order_of_elements_is_fixed_and_the_published_size_known():
    some = frames(1)
    one, two = (descriptors(some, species, Settings()) for species in ([8, 22], [22, 8, 8]))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (1, 6, 952)


def test_a_translation_and_an_order_of_atoms_change_nothing():
    some = frames(2)
    moved = {**some, "positions": some["positions"][:, ::-1] + 1.7, "numbers": some["numbers"][:, ::-1]}
    one, two = (descriptors(given, [8, 22], SMALL) for given in (some, moved))
    np.testing.assert_allclose(two[:, ::-1], one, atol=1e-9)


def test_what_is_like_the_reference_is_covered_and_what_is_not_is_an_outlier():
    reference = Reference.fit([frames(20, seed=1), frames(20, seed=2)], SMALL)
    near, far = reference.residuals(frames(10, seed=3)), reference.residuals(frames(10, amplitude=0.15, seed=3))
    wide = reference.residuals(frames(10, seed=3, scale=1.05))
    assert near.q.shape == near.t2.shape == near.outlier.shape == (10, 6)
    assert near.outlier.mean() < 0.2 < 0.7 < far.outlier.mean()
    assert np.median(far.q) > 5 * np.median(near.q)
    assert np.median(far.t2) > 3 * np.median(near.t2)
    assert np.median(wide.t2) > 3 * np.median(near.t2)
    assert reference.map(frames(4), 22).shape == (8, 5)
    # The elements have subspaces of their own.
    assert set(reference.subspaces) == {8, 22}


def test_frames_of_several_sizes_make_one_reference():
    large = rutile().repeat((1, 1, 2))
    large.rattle(0.05, seed=4)
    chunk = {
        "numbers": large.numbers[None],
        "positions": large.positions[None],
        "cells": large.cell[:][None],
        "pbc": np.ones((1, 3), dtype=bool),
    }
    reference = Reference.fit([frames(4), chunk], SMALL)
    assert reference.residuals(chunk).q.shape == (1, 12)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"numbers": np.full((1, 6), 7)}, "the element N is not in the reference set"),
        ({"pbc": np.array([[True, True, False]])}, "periodic in part"),
    ],
)
def test_frames_that_cannot_be_described(change, says):
    with pytest.raises(ValueError, match=says):
        descriptors({**frames(1), **change}, [8, 22], SMALL)


def test_reference_sets_that_are_none():
    with pytest.raises(ValueError, match="holds no frame"):
        Reference.fit([frames(0)], SMALL)
    lone = {name: array[:, :1] if name in ("numbers", "positions") else array for name, array in frames(1).items()}
    with pytest.raises(ValueError, match="reference set of Ti: 1 point"):
        Reference.fit([lone], SMALL)
