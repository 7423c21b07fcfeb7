#!/usr/bin/env bash
# Make .venv with everything the lab needs; does nothing when that is done already. Argument `dev`: the test tools too.
# Works with bash 3.2. Uses uv where there is one, else a Python >= 3.11.
set -eu
cd "$(dirname "$0")"
want="${1:-run}"
stamp=".venv/.lab-$want"

apt() {  # install a Debian package, where that may be done here
    command -v apt-get >/dev/null 2>&1 || return 1
    if [ "$(id -u)" = 0 ]; then as=""; elif sudo -n true 2>/dev/null; then as="sudo"; else return 1; fi
    echo "Installing $2 (apt-get install $1)"
    { $as apt-get install -y -qq "$1" || { $as apt-get update -qq && $as apt-get install -y -qq "$1"; }; } >/dev/null 2>&1
}

openblas() {  # Linux only: without it MLX on the CPU falls back to a BLAS that is about 10x slower
    [ "$(uname -s)" = Linux ] || return 0
    PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -q 'libopenblas\.so\.0' && return 0 # /sbin is not on every PATH
    apt libopenblas0-pthread OpenBLAS && return 0
    echo "OpenBLAS is missing: everything works, but training and sampling run about 10x slower. Install it with:  sudo apt-get install libopenblas0-pthread"
}

tmux_for_tests() {  # the window is tested in a real terminal
    command -v tmux >/dev/null 2>&1 && return 0
    apt tmux tmux && return 0
    echo "tmux is missing: the tests of the window in a real terminal are left out. Install it with:  sudo apt-get install tmux  (macOS: brew install tmux)"
}

find_python() {
    for p in python3.13 python3.12 python3.11 python3.14 python3 python; do
        if command -v "$p" >/dev/null 2>&1 && "$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$p"
            return 0
        fi
    done
    return 1
}

openblas
if [ "$want" = dev ]; then tmux_for_tests; fi
# A stamp newer than the lock and the project file means there is nothing to do.
if [ -f "$stamp" ] && [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt uv.lock ] && [ -x .venv/bin/lab ]; then
    exit 0
fi
if command -v uv >/dev/null 2>&1; then
    if [ "$want" = dev ]; then uv sync --quiet --frozen; else uv sync --quiet --frozen --no-dev --inexact; fi
elif python=$(find_python); then
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1 && ! "$python" -m venv --clear .venv >/dev/null 2>&1; then
        rm -rf .venv # half made: Debian keeps a part of venv in a package of its own
        case "$python" in python) package=python3-venv ;; *) package="$python-venv" ;; esac
        echo "$python cannot make a virtual environment here. Install what is missing:  sudo apt-get install $package  (or uv: curl -LsSf https://astral.sh/uv/install.sh | sh)"
        exit 1
    fi
    echo "Installing packages into .venv (no uv here, so pip; a minute or two)"
    export PYTHONWARNINGS=ignore # the build backend warns of every editable install
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
    if [ "$want" = dev ]; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -e . --group dev
    else
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -e .
    fi
else
    echo "The lab needs Python >= 3.11 or uv. Install uv with:  curl -LsSf https://astral.sh/uv/install.sh | sh"
    exit 1
fi
touch "$stamp"
