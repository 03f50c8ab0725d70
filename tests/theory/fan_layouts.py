"""Layouts of grouped and transposed convolutions, as torch stores them."""

from __future__ import annotations

from firstlight.records.network import Layout


def grouped(groups, out, in_, *kernel):
    shape = (groups * out, in_, *kernel)
    roles = ("group", "out", "in", *["kernel"] * len(kernel))
    return Layout(shape=shape, view=(groups, out, in_, *kernel), roles=roles)


def transposed(groups, in_, out, *kernel):
    shape = (groups * in_, out, *kernel)
    roles = ("group", "in", "out", *["kernel"] * len(kernel))
    return Layout(shape=shape, view=(groups, in_, out, *kernel), roles=roles)
