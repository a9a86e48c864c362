"""POTCARs by content: the level of theory names their hashes, the profile holds their nodes, nobody hands on the files.

AiiDA and aiida-vasp are imported in the functions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any


def resolve(family: str, mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of the POTCARs that a family of the loaded profile holds.

    :param family: label of the POTCAR family.
    :param mapping: name of the POTCAR (``Ti_pv``) by element.
    :returns: SHA-512 by element, of those that are there; empty without a profile or without aiida-vasp.
    """
    if find_spec("aiida_vasp") is None:
        return {}
    from aiida.manage import get_manager

    if get_manager().get_profile() is None:
        return {}
    found: dict[str, str] = {}
    for name, digest in _members(family):
        for element, wanted in mapping.items():
            if name == wanted:
                found[element] = digest
    return found


def missing(family: str, mapping: Mapping[str, str], lacking: Iterable[str]) -> str:
    """Return why POTCARs are missing and what to do, in one sentence.

    :param family: label of the POTCAR family.
    :param mapping: name of the POTCAR by element.
    :param lacking: elements without a hash.
    """
    element = sorted(lacking)[0]
    upload = "upload one with 'aiida-vasp potcar uploadfamily'"
    names = sorted(name for name, _ in _members(family))
    if names:
        shown = ", ".join([name for name in names if name.split("_")[0] == element] or names[:10])
        return (
            f"the POTCAR family '{family}' has no POTCAR '{mapping[element]}' for {element}; it has {shown}: "
            "correct the parameter 'potential_mapping'."
        )
    known = families()
    if not known:
        return f"there is no POTCAR family in this profile: {upload} and name it in 'potential_family'."
    return f"there is no POTCAR family '{family}' in this profile; it has {', '.join(known)}: choose one, or {upload}."


def families() -> list[str]:
    """Return the labels of the POTCAR families of the loaded profile."""
    from aiida import orm
    from aiida_vasp.data.potcar import PotcarGroup

    query = orm.QueryBuilder().append(PotcarGroup, project="label")
    return sorted(query.all(flat=True))


def _members(family: str) -> list[tuple[str, str]]:
    """Return name and hash of the POTCARs of a family, the oldest last, so that it counts where a name is doubled.

    :param family: label of the family.
    """
    from aiida import orm
    from aiida_vasp.data.potcar import PotcarData, PotcarGroup

    query = orm.QueryBuilder().append(PotcarGroup, filters={"label": family}, tag="family")
    query.append(PotcarData, with_group="family", tag="potcar", project=["attributes.full_name", "attributes.sha512"])
    return [tuple(row) for row in query.order_by({"potcar": {"id": "desc"}}).all()]


def load(digests: Mapping[str, str], elements: Iterable[str]) -> dict[str, Any]:
    """Return the nodes of POTCARs by their content.

    :param digests: SHA-512 by element.
    :param elements: those that are wanted.
    :returns: ``PotcarData`` by element.
    :raises ValueError: with one sentence, for one that this profile does not hold.
    """
    from aiida.common import NotExistent
    from aiida_vasp.data.potcar import PotcarData, PotcarFileData

    found = {}
    for element in elements:
        digest = digests[element]
        try:
            # The first is the contents' name, the second the licensed file itself, which an archive never brings.
            found[element] = PotcarData.find_one(sha512=digest)
            PotcarFileData.find_one(sha512=digest)
        except NotExistent as error:
            raise ValueError(
                f"the POTCAR of {element} that the level of theory names (SHA-512 {digest[:12]}…) is not in this "
                "profile: upload the family that holds it with 'aiida-vasp potcar uploadfamily'."
            ) from error
    return found
