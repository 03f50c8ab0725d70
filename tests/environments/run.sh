#!/usr/bin/env bash
# Each extra alone: fresh environments with nothing but the wheel, one framework and what it needs.
#
#   tests/environments/run.sh [folder]
#
# Two are made, and each is then given Keras on top: torch, torch + keras, jax, jax + keras.
# A last one is made as the start page tells newcomers to.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-.venv/bin/python}
PYTHON="$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON")" # absolute, links kept
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH KERAS_BACKEND
FOLDER=${1:-$(mktemp -d)}
mkdir -p "$FOLDER"
FOLDER="$(cd "$FOLDER" && pwd)"
[ $# -gt 0 ] || trap 'rm -rf "$FOLDER"' EXIT

"$PYTHON" -m pip wheel --quiet --no-deps --wheel-dir "$FOLDER/wheel" .
WHEEL=$(ls "$FOLDER"/wheel/firstlight-*.whl)

install() { # environment, requirements …
  local environment=$1
  shift
  "$PYTHON" -m pip --python "$FOLDER/$environment/bin/python" install --quiet --no-compile \
    --constraint constraints.txt "$@"
}

proves() { # environment, framework [, Keras's backend]
  local started=$SECONDS
  (cd "$FOLDER/$1" && bin/python "$OLDPWD/tests/environments/alone.py" "${@:2}")
  echo "environment $1: ${*:2} stands alone ($((SECONDS - started)) s)"
}

for framework in torch jax; do
  "$PYTHON" -m venv --without-pip --clear "$FOLDER/$framework"
  # torch by its exact version before all else: a looser range can fetch several gigabytes.
  [ "$framework" = jax ] || install torch torch
  install "$framework" "$WHEEL[$framework]"
  proves "$framework" "$framework"
  install "$framework" "$WHEEL[keras]"
  proves "$framework" keras "$framework"
done

"$PYTHON" tests/environments/newcomer.py --python "$PYTHON"
