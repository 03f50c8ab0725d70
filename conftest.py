"""Keras reads its backend once, when it is imported."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
