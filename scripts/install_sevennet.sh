#!/usr/bin/env bash
# Make an environment of its own for SevenNet, with its own slhmc-worker. MACE pins e3nn 0.4.4 and SevenNet needs 0.5 or
# later, so the two cannot share one.
#
# usage: scripts/install_sevennet.sh [ENVIRONMENT [PYTHON]]        default: .venv-sevenn beside this script's folder, python3
#
# Run it again at will: it does nothing where SevenNet and the worker work.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
environment="${1:-$root/.venv-sevenn}"
python3="${2:-python3}"
torch="${TORCH:-torch==2.13.0}"
version="0.13.0"

fail() {
    echo "install_sevennet: $*" >&2
    exit 1
}

works() {
    [ -x "$environment/bin/slhmc-worker" ] && "$environment/bin/slhmc-worker" --help >/dev/null 2>&1 &&
        "$environment/bin/python" -c "
import sevenn, importlib.metadata as m
assert m.version('sevenn') == '$version'
from aiida_slhmc.worker.engines import sevennet" >/dev/null 2>&1
}

if works; then
    echo "install_sevennet: SevenNet $version already works in $environment."
    exit 0
fi

[ -x "$environment/bin/python" ] || "$python3" -m venv "$environment" || fail "cannot make the environment '$environment'."
pip() {
    "$environment/bin/python" -m pip --disable-pip-version-check "$@"
}

# What both environments have is of one version; e3nn is the one that must differ.
constraints="$(mktemp)"
trap 'rm -f "$constraints"' EXIT
grep -ivE '^(e3nn|torch|mace-torch)==' "$root/constraints.txt" >"$constraints"

pip install --quiet "$torch"
pip install --quiet --constraint "$constraints" "sevenn==$version" ase click numpy scipy
# The worker needs no AiiDA.
pip install --quiet --no-deps --editable "$root"
works || fail "SevenNet is installed but does not work; run '$environment/bin/slhmc-worker --help' to see why."
echo "install_sevennet: SevenNet $version works in $environment; its code is $environment/bin/slhmc-worker."
