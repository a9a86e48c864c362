"""How well a set of structures covers others: SOAP, principal components, Q-residual and Hotelling's T² of every atom.

Each element has a subspace of its own, spanned by the first principal components of the descriptors of all its atoms
in the reference set. Q is what of an atom's descriptor lies outside the subspace, T² how far out it lies within: Q
alone is blind along the components. The settings are those of S. Wong and B. Yang, arXiv:2603.10159.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
#: Arrays (numbers, positions, cells, pbc) of frames of one composition, as a chunk of a dataset holds them.
Frames = Mapping[str, NDArray[Any]]

#: Components whose variance is below this share of the first are rounding: nothing is projected on them.
RANK = 1e-10
#: An outlier's Q lies further above the mean of its element in the reference set than this many standard deviations.
OUTLIER_SIGMAS = 2.0


@dataclass(frozen=True)
class Settings:
    """Hold the settings of descriptors and subspaces.

    :param r_cut: cut-off of the density around an atom in Å.
    :param n_max: radial functions.
    :param l_max: largest angular momentum.
    :param sigma: width of the Gaussians in Å.
    :param components: principal components of each element; fewer where the atoms span fewer.
    """

    r_cut: float = 5.0
    n_max: int = 8
    l_max: int = 6
    sigma: float = 0.375
    components: int = 5

    def to_dict(self) -> dict[str, float]:
        """Return the settings by name."""
        return asdict(self)


def descriptors(frames: Frames, species: Sequence[int], settings: Settings) -> Array:
    """Return the SOAP vector of every atom.

    The order of the elements is part of the vector: it is that of their atomic numbers, however they are given.

    :param frames: numbers (F, N), positions (F, N, 3) and cells (F, 3, 3) in Å, pbc (F, 3): in all directions or none.
    :param species: atomic numbers of all elements that may occur.
    :param settings: of the descriptor.
    :returns: (F, N, D).
    :raises ValueError: for an element that is not among ``species``, or a structure that is periodic in part.
    """
    from dscribe.descriptors import SOAP

    numbers = np.asarray(frames["numbers"], dtype=np.int64)
    foreign = sorted(set(numbers.ravel().tolist()) - set(species))
    if foreign:
        raise ValueError(f"the element {chemical_symbols[foreign[0]]} is not in the reference set")
    pbc = np.asarray(frames["pbc"], dtype=bool)
    if pbc.any() != pbc.all():
        raise ValueError("the structures are periodic in part: SOAP takes all directions or none")
    soap = SOAP(
        species=[chemical_symbols[number] for number in sorted(set(species))],
        r_cut=settings.r_cut, n_max=settings.n_max, l_max=settings.l_max, sigma=settings.sigma,
        periodic=bool(pbc.all()),
    )  # fmt: skip
    rows = zip(numbers, frames["positions"], frames["cells"], pbc, strict=True)
    vectors = [soap.create(Atoms(z, positions=xyz, cell=cell, pbc=flags)) for z, xyz, cell, flags in rows]
    return np.asarray(vectors, dtype=np.float64).reshape(*numbers.shape, soap.get_number_of_features())


@dataclass(frozen=True)
class Subspace:
    """Hold the principal components of one cloud of points.

    :param mean: (D,).
    :param axes: (k, D), orthonormal.
    :param variances: (k,) of the points along the axes, unbiased.
    """

    mean: Array
    axes: Array
    variances: Array

    @classmethod
    def fit(cls, points: ArrayLike, components: int) -> Subspace:
        """Return the subspace of the largest variances.

        :param points: (n, D), n at least 2.
        :param components: k; fewer are kept where the points span fewer.
        :raises ValueError: for fewer than two points.
        """
        from sklearn.decomposition import PCA

        cloud = np.asarray(points, dtype=np.float64)
        if len(cloud) < 2:
            raise ValueError(f"{len(cloud)} point has no variance: give two or more")
        # The whole decomposition: the randomised ones depend on a seed.
        with np.errstate(invalid="ignore"):
            found = PCA(n_components=min(components, *cloud.shape), svd_solver="full").fit(cloud)
        kept = found.explained_variance_ > RANK * max(found.explained_variance_[0], np.finfo(float).tiny)
        return cls(found.mean_, found.components_[kept], found.explained_variance_[kept])

    def coordinates(self, points: ArrayLike) -> Array:
        """Return the coordinates of points along the components.

        :param points: (..., D).
        :returns: (..., k).
        """
        return np.asarray((np.asarray(points, dtype=np.float64) - self.mean) @ self.axes.T)

    def q(self, points: ArrayLike) -> Array:
        """Return the Q-residual: the squared distance from the subspace.

        :param points: (..., D).
        :returns: (...), in the squared unit of the points.
        """
        array = np.asarray(points, dtype=np.float64)
        return np.sum((array - self.mean - self.coordinates(array) @ self.axes) ** 2, axis=-1)

    def t2(self, points: ArrayLike) -> Array:
        """Return Hotelling's T²: the squared distance from the mean within the subspace, in units of the variances.

        :param points: (..., D).
        :returns: (...).
        """
        return np.sum(self.coordinates(points) ** 2 / self.variances, axis=-1)


@dataclass(frozen=True)
class Reference:
    """Hold the subspaces of a reference set.

    :param settings: of descriptors and subspaces.
    :param subspaces: by atomic number.
    :param limits: of Q by atomic number: beyond it an atom is an outlier.
    """

    settings: Settings
    subspaces: Mapping[int, Subspace]
    limits: Mapping[int, float]

    @classmethod
    def fit(cls, chunks: Sequence[Frames], settings: Settings | None = None) -> Reference:
        """Return the subspaces of all atoms of a reference set.

        :param chunks: its frames; each chunk of one composition.
        :param settings: of descriptors and subspaces; None: the published ones.
        :raises ValueError: without a frame, for an element with a single atom, or as :func:`descriptors`.
        """
        chosen = settings or Settings()
        filled = [chunk for chunk in chunks if len(chunk["numbers"])]
        if not filled:
            raise ValueError("the reference set holds no frame")
        species = sorted({int(number) for chunk in filled for number in np.ravel(chunk["numbers"])})
        vectors = [descriptors(chunk, species, chosen) for chunk in filled]
        return cls.of_descriptors([chunk["numbers"] for chunk in filled], vectors, chosen)

    @classmethod
    def of_descriptors(cls, numbers: Sequence[ArrayLike], vectors: Sequence[Array], settings: Settings) -> Reference:
        """Return the subspaces of all atoms of a reference set whose descriptors are known.

        :param numbers: by chunk, atomic numbers (F, N).
        :param vectors: by chunk, of :func:`descriptors`, (F, N, D).
        :param settings: of the descriptors and subspaces.
        :raises ValueError: for an element with a single atom.
        """
        chosen = settings
        species = sorted({int(number) for chunk in numbers for number in np.ravel(chunk)})
        subspaces, limits = {}, {}
        for number in species:
            pairs = zip(vectors, numbers, strict=True)
            cloud = np.concatenate([vector[np.asarray(chunk) == number] for vector, chunk in pairs])
            try:
                subspaces[number] = Subspace.fit(cloud, chosen.components)
            except ValueError as error:
                raise ValueError(f"the reference set of {chemical_symbols[number]}: {error}") from error
            q = subspaces[number].q(cloud)
            limits[number] = float(q.mean() + OUTLIER_SIGMAS * q.std())
        return cls(chosen, subspaces, limits)

    def residuals(self, frames: Frames) -> Residuals:
        """Return how far the atoms of frames are from the reference set.

        :param frames: of one composition.
        :raises ValueError: as :func:`descriptors`.
        """
        return self.judge(frames["numbers"], descriptors(frames, sorted(self.subspaces), self.settings))

    def judge(self, numbers: ArrayLike, vectors: Array) -> Residuals:
        """Return how far atoms are from the reference set whose descriptors are known.

        :param numbers: atomic numbers (F, N), of elements of the reference set.
        :param vectors: of :func:`descriptors`, (F, N, D).
        """
        numbers = np.asarray(numbers, dtype=np.int64)
        q, t2, outlier = np.zeros(numbers.shape), np.zeros(numbers.shape), np.zeros(numbers.shape, dtype=bool)
        for number, subspace in self.subspaces.items():
            these = numbers == number
            q[these], t2[these] = subspace.q(vectors[these]), subspace.t2(vectors[these])
            outlier[these] = q[these] > self.limits[number]
        return Residuals(q, t2, outlier)

    def map(self, frames: Frames, number: int) -> Array:
        """Return the coordinates of the atoms of one element along the components of the reference set, for a map.

        :param frames: of one composition.
        :param number: atomic number.
        :returns: (n, k), atoms of all frames.
        """
        vectors = descriptors(frames, sorted(self.subspaces), self.settings)
        return self.subspaces[number].coordinates(vectors[np.asarray(frames["numbers"]) == number])


@dataclass(frozen=True)
class Residuals:
    """Hold how far atoms are from a reference set.

    :param q: (F, N) Q-residuals.
    :param t2: (F, N) Hotelling's T².
    :param outlier: (F, N) whether Q lies beyond the limit of the atom's element.
    """

    q: Array
    t2: Array
    outlier: NDArray[np.bool_]
