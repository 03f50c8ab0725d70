"""The named techniques: zeros, Glorot, He, LeCun … mirrored, and what each framework does unasked.

A technique is a formula with its assumptions. It turns a layout and its fans into a law; it draws
nothing and knows no framework.
"""

from __future__ import annotations

from firstlight.initializers.registry import technique, techniques
from firstlight.initializers.technique import Technique

__all__ = ["Technique", "technique", "techniques"]
