#!/usr/bin/env bash
# Everything that `make test` and CI run, in the order in which it fails fastest.
set -euo pipefail
cd "$(dirname "$0")"
BIN=${BIN:-.venv/bin}
# Two processes share two cores: one thread each.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

"$BIN/ruff" format --check .
"$BIN/ruff" check .
"$BIN/mypy"
"$BIN/lint-imports"
"$BIN/python" -m sphinx -q -W --keep-going -b html docs docs/_build/html
run() { "$BIN/python" -m pytest -n "${TEST_PROCESSES:-2}" --dist worksteal "$@"; }
# Keras decides its backend when it is first imported: all tests with torch, then Keras's with JAX.
KERAS_BACKEND=torch run "$@"
[ $# -gt 0 ] || KERAS_BACKEND=jax run tests/keras
[ $# -gt 0 ] || KERAS_BACKEND=jax run tests/frameworks -k keras
