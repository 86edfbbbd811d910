#!/bin/sh
# Resolves the direct dependencies of pyproject.toml into requirements.txt and requirements-dev.txt.
# Pins that are there already are kept; delete a file, or pass --upgrade-package NAME, to move them.
set -eu
cd "$(dirname "$0")/.."
uv=.venv/bin/uv

header() {
    printf '# %s\n# Made by `make lock` from pyproject.toml for Python 3.11 to 3.13; not edited by hand.\n' "$1"
}

lock() {  # lock FILE TITLE UV-ARGUMENTS...
    file=$1 title=$2
    shift 2
    # Resolved for the oldest Python: 3.12 and 3.13 resolve to the same list.
    "$uv" pip compile --quiet --no-header --no-emit-index-url --python-version 3.11 "$@" --output-file "$file"
    { header "$title"; cat "$file"; } > "$file.new"
    mv "$file.new" "$file"
}

lock requirements.txt 'Every package that a deployment needs, pinned.' pyproject.toml "$@"
lock requirements-dev.txt 'What the tests, the linter and the type checker need besides requirements.txt, pinned.' \
    --group dev --constraints requirements.txt "$@"
