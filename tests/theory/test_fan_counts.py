"""Fans counted from axis roles."""

from __future__ import annotations

import pytest
from fan_layouts import grouped, transposed

from firstlight.errors import BadInputError
from firstlight.records.network import Fans, Layout, plain_layout
from firstlight.theory.fans import fans


@pytest.mark.parametrize(
    ("layout", "forward", "backward"),
    [
        (plain_layout((30, 7)), 7, 30),
        (grouped(8, 1, 1, 3, 3), 9, 9),  # depthwise
        (grouped(4, 6, 2, 5), 10, 30),
        # packed QKV, recurrent gates, experts: each stacked matrix counts alone
        (Layout(shape=(96, 32), view=(3, 32, 32), roles=("qkv", "out", "in")), 32, 32),
        (Layout(shape=(80, 10), view=(4, 20, 10), roles=("gate", "out", "in")), 10, 20),
        (Layout(shape=(5, 8, 6), view=(5, 8, 6), roles=("expert", "in", "out")), 8, 6),
        # grouped queries: heads side by side on the output axis
        (Layout(shape=(64, 48), view=(4, 16, 48), roles=("head", "out", "in")), 48, 16),
        # Keras: kernel first, (h, w, in, out)
        (Layout(shape=(3, 3, 8, 4), view=(3, 3, 8, 4),
                roles=("kernel", "kernel", "in", "out")), 72, 36),
        (Layout(shape=(100, 16), view=(100, 16), roles=("index", "out")), 1, 16),
    ],
)  # fmt: skip
def test_counts(layout, forward, backward):
    assert fans(layout) == Fans(forward=float(forward), backward=float(backward))


def test_strides_divide_the_side_that_they_thin():
    assert fans(grouped(1, 32, 64, 4, 4), stride=(2, 2)) == Fans(forward=1024.0, backward=128.0)
    # the five rows of a published simulation: C_in, C_out, k, s, groups and the forward rule
    for c_in, c_out, k, s, g, rule in (
        (64, 32, 4, 2, 1, 256), (64, 64, 3, 1, 1, 576), (64, 32, 3, 2, 1, 144),
        (64, 64, 4, 2, 4, 64), (32, 32, 5, 3, 1, 800 / 9),
    ):  # fmt: skip
        layout = transposed(g, c_in // g, c_out // g, k, k)
        assert fans(layout, stride=(s, s), transposed=True).forward == pytest.approx(rule)


@pytest.mark.parametrize(
    "layout",
    [
        plain_layout((5,)),
        plain_layout(()),
        Layout(shape=(20,), view=(4, 5), roles=("gate", "out")),
    ],
)
def test_vectors_have_none(layout):
    assert fans(layout) is None


@pytest.mark.parametrize("stride", [(2,), (2, 2, 2), (0, 1)])
def test_strides_that_do_not_fit(stride):
    with pytest.raises(BadInputError, match=r"for a kernel of shape \(3, 3\)"):
        fans(plain_layout((4, 4, 3, 3)), stride=stride)


def test_empty_weight():
    with pytest.raises(BadInputError, match="empty axis"):
        fans(plain_layout((4, 0)))
