"""Every element is a pure function of (seed, name, coordinates)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import BadInputError, NotDrawableError
from firstlight.laws.addresses import canonical_name, stream_key
from firstlight.laws.draw import draw, draw_matrix
from firstlight.records.law import (
    Constant,
    DeltaOrthogonal,
    Identity,
    Law,
    Linked,
    Mirrored,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from firstlight.records.network import Layout, plain_layout
from firstlight.records.patterned import Hadamard, PaddedIdentity, Sinusoidal

ELEMENTWISE: list[Law] = [
    Normal(mean=0.1, std=0.5),
    Uniform(low=-0.2, high=0.7),
    TruncatedNormal(std=0.3),
    TruncatedNormal(mean=0.2, std=0.3, low_sigma=-1, high_sigma=3),
    Constant(value=0.25),
]
STRUCTURED: list[Law] = [
    Orthogonal(gain=2),
    DeltaOrthogonal(),
    Mirrored(),
    Mirrored(inputs=False),
    Mirrored(outputs=False),
    Linked(before="a", after="b"),
    Linked(before="a", after="b", inputs=True, outputs=True),
    Identity(gain=3),
    Sparse(std=1, zero_fraction=0.7),
    Hadamard(gain=2),
    PaddedIdentity(gain=3),
    PaddedIdentity(noise=0.1),
    Sinusoidal(std=0.5),
]
ids = str


@pytest.mark.parametrize("law", ELEMENTWISE + STRUCTURED, ids=ids)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_slice_drawn_alone_is_the_slice_of_the_whole(law, data):
    out, in_, taps = (data.draw(st.integers(2, 9)) for _ in range(3))
    layout = plain_layout((out, in_, taps))
    seed = data.draw(st.integers(0, 2**64 - 1))
    whole = draw(law, layout, name="w", seed=seed).reshape(out, in_ * taps)
    rows = sorted(data.draw(st.tuples(st.integers(0, out), st.integers(0, out))))
    columns = sorted(data.draw(st.tuples(st.integers(0, in_ * taps), st.integers(0, in_ * taps))))
    part = draw_matrix(law, layout, name="w", seed=seed, rows=range(*rows), columns=range(*columns))
    assert np.array_equal(part, whole[slice(*rows), slice(*columns)])


@pytest.mark.parametrize("law", ELEMENTWISE, ids=ids)
def test_a_large_tensor_drawn_in_blocks_equals_its_rows_drawn_alone(law):
    layout = plain_layout((7, 100_000))
    whole = draw(law, layout, name="w", seed=5)
    for row in range(7):
        alone = draw_matrix(law, layout, name="w", seed=5, rows=range(row, row + 1))
        assert np.array_equal(alone[0], whole[row])


@pytest.mark.parametrize("law", ELEMENTWISE, ids=ids)
def test_a_wider_and_longer_tensor_keeps_its_old_block(law):
    old = draw(law, (5, 6, 3), name="w", seed=1)
    longer = draw(law, (9, 6, 3), name="w", seed=1)
    wider = draw(law, (5, 11, 3), name="w", seed=1)
    assert np.array_equal(longer[:5], old)
    assert np.array_equal(wider[:, :6], old)


@pytest.mark.parametrize("law", [law for law in ELEMENTWISE if not isinstance(law, Constant)])
def test_renaming_seeding_and_namespaces_change_the_values(law):
    base = draw(law, (4, 4), name="a", seed=0)
    assert np.array_equal(base, draw(law, (4, 4), name="a", seed=0))
    assert not np.any(base == draw(law, (4, 4), name="b", seed=0))
    assert not np.any(base == draw(law, (4, 4), name="a", seed=1))
    assert not np.any(base == draw(law, (4, 4), name="a", seed=0, namespace="twin"))


def test_wrappers_do_not_rename():
    law = Normal(std=1)
    wrapped = "module._orig_mod.net._fsdp_wrapped_module.fc._checkpoint_wrapped_module.weight"
    assert canonical_name(wrapped) == "net.fc.weight"
    assert np.array_equal(
        draw(law, (3, 3), name=wrapped, seed=0), draw(law, (3, 3), name="net.fc.weight", seed=0)
    )


def test_fields_of_an_address_cannot_run_into_one_another():
    assert stream_key(1, "2a") != stream_key(12, "a")
    assert stream_key(0, "ab", namespace="c") != stream_key(0, "b", namespace="ca")
    assert stream_key(0, "a", stack="b") != stream_key(0, "a", stream="b")


def test_stacked_matrices_have_their_own_streams_and_storage_axes_do_not_matter():
    grouped = Layout(shape=(6, 2, 3), view=(2, 3, 2, 3), roles=("group", "out", "in", "kernel"))
    transposed = Layout(shape=(4, 3, 3), view=(2, 2, 3, 3), roles=("group", "in", "out", "kernel"))
    law = Normal(std=1)
    a = draw(law, grouped, name="w", seed=0).reshape(2, 3, 2, 3)
    b = draw(law, transposed, name="w", seed=0).reshape(2, 2, 3, 3).swapaxes(1, 2)
    assert np.array_equal(a, b)
    assert not np.any(a[0] == a[1])


@pytest.mark.parametrize("law", STRUCTURED, ids=ids)
def test_structured_laws_need_a_matrix(law):
    with pytest.raises(NotDrawableError, match=r"needs a matrix \(out, in, …\), got shape \(8,\)"):
        draw(law, (8,), name="b", seed=0)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "0"])
def test_bad_seeds_get_one_line(seed):
    with pytest.raises(BadInputError, match=r"seed: expected an integer from 0 to 2\*\*64 - 1"):
        draw(Normal(std=1), (2, 2), name="w", seed=seed)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Normal(std=-1), "Normal: std must be zero or positive, got -1"),
        (lambda: Uniform(low=1, high=0), "Uniform: high must be at least low = 1, got 0"),
        (lambda: Normal(std=float("nan")), "Normal: std must be a finite number, got nan"),
        (lambda: TruncatedNormal(std=1, high_sigma=-3), "high_sigma must be above low_sigma"),
        (lambda: Sparse(std=1, zero_fraction=1), "zero_fraction must be at least 0 and below 1"),
        (lambda: Mirrored(inputs=False, outputs=False), "set inputs, outputs or both"),
    ],
)
def test_impossible_laws_are_refused(make, words):
    with pytest.raises(BadInputError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_of_a_law_are_rounded_to_nine_digits():
    assert Normal(std=1 / 3) == Normal(std=0.333333333)
    assert Normal(std=1 / 3) != Normal(std=0.33333333)
