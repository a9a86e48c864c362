"""Find the file of a foundation model: a path, a model that comes with the package, or a MACE-MP name."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import urllib.request
from pathlib import Path

from aiida_slhmc import models as shipped

from .errors import TaskError

_LOG = logging.getLogger(__name__)

#: Seconds to wait for an answer before a network counts as absent.
PROBE_TIMEOUT = 10.0

#: Prefixes under which MACE-MP models are known beside MACE's own short names.
_PREFIXES = ("mace-mp-0-", "mace-mp-", "mace_mp_")


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file.

    :param path: of the file.
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def resolve_foundation(name_or_path: str | Path) -> Path:
    """Return the file of a foundation model.

    :param name_or_path: path of a ``.model`` file; a name from :func:`aiida_slhmc.models.names`; or a MACE-MP name such
        as 'mace-mp-0-small', 'small' or 'medium-mpa-0', which MACE fetches once and keeps in its cache.
    :returns: an existing file.
    :raises TaskError: ``bad_input`` with one sentence on what to do if there is no such file, name or network.
    """
    text = str(name_or_path)
    if text in shipped.names():
        return shipped.path(text)
    path = Path(text).expanduser()
    if path.is_file():
        return path.resolve()
    if path.suffix == ".model" or os.sep in text:
        raise TaskError("bad_input", f"there is no model file '{text}'.")
    return _mace_mp(text)


def _mace_mp(text: str) -> Path:
    try:
        from mace.calculators.foundations_models import download_mace_mp_checkpoint, mace_mp_urls
        from mace.tools.utils import get_cache_dir
    except ImportError as error:
        known = ", ".join(shipped.names())
        raise TaskError(
            "missing_dependency",
            f"the name '{text}' needs MACE, which is not installed ({error}); without it: {known}.",
        ) from None
    known_names = {name: name for name in mace_mp_urls}
    for prefix in _PREFIXES:
        known_names |= {f"{prefix}{name}": name for name in mace_mp_urls}
    if text not in known_names:
        raise TaskError(
            "bad_input",
            f"there is no foundation model '{text}': give the path of a .model file, a name that comes with the "
            f"package ({', '.join(shipped.names())}) or one of MACE-MP ({', '.join(mace_mp_urls)}).",
        )
    name = known_names[text]
    url = mace_mp_urls[name]
    cache = Path(get_cache_dir()) / "".join(c for c in os.path.basename(url) if c.isalnum() or c == "_")
    said = io.StringIO()
    try:
        if not cache.is_file():
            # MACE itself would wait two minutes for a network that does not answer.
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_TIMEOUT):
                pass
        # MACE tells of its progress, and of the licence of some models, on stdout, which belongs to the caller.
        with contextlib.redirect_stdout(said):
            return Path(download_mace_mp_checkpoint(name)).resolve()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise TaskError(
            "bad_input",
            f"the foundation model '{text}' is not in MACE's cache and cannot be downloaded ({reason}): put the file "
            f"from {url} at {cache}, or give the path of a .model file.",
        ) from None
    finally:
        for line in said.getvalue().splitlines():
            _LOG.info("%s", line.strip())
