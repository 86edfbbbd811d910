#!/bin/sh
# Sets this clone up (see infra/local/engine), with a Python that fits: .venv, the Pulumi engine. Options go to the set-up.
# PYTHON=/path/to/python names the Python; otherwise the first of 3.13, 3.12, 3.11 on PATH that can make environments.
set -eu
cd "$(dirname "$0")/.."

# All there: tens of milliseconds, whatever Python is on PATH by now.
if [ -x .venv/bin/python ] && .venv/bin/python -m infra.local.engine --check "$@" 2>/dev/null; then
    exit 0
fi

find_python() {
    for python in python3.13 python3.12 python3.11 python3; do
        if "$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
        then echo "$python"; return; fi
    done
    for python in python3.13 python3.12 python3.11 python3 python3.14; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
        then echo "$python"; return; fi
    done
}

python=${PYTHON:-$(find_python)}
if [ -z "$python" ]; then
    {
        echo "Python 3.11, 3.12 or 3.13 is needed; there is none on PATH$(python3 -c 'import sys
print(" (python3 is %d.%d)" % sys.version_info[:2])' 2>/dev/null || true)."
        echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python@3.13),"
        echo "or name one: make PYTHON=/path/to/python3.13"
    } >&2
    exit 1
fi
if ! command -v "$python" >/dev/null 2>&1; then
    echo "PYTHON=$python: there is no such command." >&2
    exit 1
fi
exec "$python" -m infra.local.engine "$@"
