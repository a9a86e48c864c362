#!/usr/bin/env bash
# Install GPAW and its PAW setups from the package registries into a Python environment.
#
# usage: scripts/install_gpaw.sh [PYTHON]        default: .venv/bin/python beside this script's folder
#
# GPAW compiles a C++ extension against libxc, a BLAS and FFTW. Where they are missing, this installs the Debian packages if
# it runs as root, and says which ones to install if it does not. Run it again at will: it does nothing where GPAW works.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${1:-$root/.venv/bin/python}"
version="26.7.0"
data_version="1.2.1"

fail() {
    echo "install_gpaw: $*" >&2
    exit 1
}

works() {
    "$python" - <<'PYTHON' >/dev/null 2>&1
from ase.build import molecule
from gpaw import GPAW, PW
from gpaw.xc import XC
XC("PBE")  # needs libxc
atoms = molecule("H2")
atoms.center(vacuum=2.0)
atoms.pbc = True
atoms.calc = GPAW(mode=PW(150), xc="PBE", txt=None, convergence={"density": 1e-2})
atoms.get_potential_energy()  # needs the setups
PYTHON
}

[ -x "$python" ] || command -v "$python" >/dev/null || fail "there is no Python at '$python'; create the environment first (make quickstart)."

if works; then
    echo "install_gpaw: GPAW $("$python" -c 'import gpaw; print(gpaw.__version__)') already works in $python."
    exit 0
fi

# Where the linker finds a library, it can be used, wherever it came from.
has() {
    echo 'int main() { return 0; }' | g++ -x c++ - "-l$1" -o /dev/null 2>/dev/null
}
missing=()
command -v g++ >/dev/null || missing+=(g++)
has xc || missing+=(libxc-dev)
has openblas || missing+=(libopenblas-dev)
has fftw3 || missing+=(libfftw3-dev)
"$python" -c 'import os, sysconfig; exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    missing+=(python3-dev)
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "install_gpaw: installing ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        fail "these packages are missing: ${missing[*]} (names of Debian and Ubuntu). Install them as root, then run this again."
    fi
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# GPAW's .c files include C++ headers; its default compiler would refuse them.
cat >"$work/siteconfig.py" <<'SITECONFIG'
compiler = 'g++'
mpi = False
fftw = True
scalapack = False
libraries = ['xc', 'openblas', 'fftw3']
SITECONFIG

# What is there stays as it is: GPAW must not move numpy, ASE or torch.
keep() {
    "$python" -m pip freeze --disable-pip-version-check 2>/dev/null | grep -iE '^(numpy|scipy|ase|torch|mace-torch|chgnet|aiida-core)=='
}
keep >"$work/before.txt" || true
constraints=(--constraint "$work/before.txt")
if [ -f "$root/constraints.txt" ]; then
    constraints+=(--constraint "$root/constraints.txt")
fi

# pip builds in a folder of its own; the variable makes it build against the versions that are here.
GPAW_CONFIG="$work/siteconfig.py" PIP_CONSTRAINT="$work/before.txt" "$python" -m pip install \
    --disable-pip-version-check --quiet "${constraints[@]}" "gpaw==$version" "gpaw-data==$data_version"

keep >"$work/after.txt" || true
# A package that was not there may have come; one that was must be as it was.
changed=$(comm -23 <(sort "$work/before.txt") <(sort "$work/after.txt"))
[ -z "$changed" ] || fail "the installation changed versions of other packages:" $changed
"$python" -m pip check --disable-pip-version-check || fail "the environment is inconsistent (above)."
works || fail "GPAW is installed but does not compute; run '$python -m gpaw info' to see why."
echo "install_gpaw: GPAW $version works in $python."
