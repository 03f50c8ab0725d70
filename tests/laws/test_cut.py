"""The moments of a cut normal against mpmath's integrals, and cuts that keep too little."""

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import BadInputError
from firstlight.laws.cut import cut_moments
from firstlight.records.law import TruncatedNormal


def integrated(low: float, high: float) -> tuple[float, float]:
    with mpmath.workdps(60):
        a, b = mpmath.mpf(low), mpmath.mpf(high)
        mass = mpmath.ncdf(b) - mpmath.ncdf(a)
        mean = (mpmath.npdf(a) - mpmath.npdf(b)) / mass
        variance = 1 + (a * mpmath.npdf(a) - b * mpmath.npdf(b)) / mass - mean**2
        return float(mean), float(variance)


@given(low=st.floats(-6, 3), width=st.floats(1e-6, 9))
def test_equals_the_closed_form_in_sixty_digits(low, width):
    high = min(low + width, 6.0)
    try:
        TruncatedNormal(std=1.0, low_sigma=low, high_sigma=high)
    except BadInputError:
        return
    mean, variance = cut_moments(low, high)
    exact = integrated(low, high)
    assert mean == pytest.approx(exact[0], rel=2e-8, abs=1e-12)
    assert variance == pytest.approx(exact[1], rel=3e-6)


@pytest.mark.parametrize("cut", [(-6, -5.99), (5.5, 5.6), (1.0, 1.0 + 1e-8)])
def test_a_cut_that_keeps_next_to_nothing_is_one_line(cut):
    with pytest.raises(BadInputError, match=r"^TruncatedNormal: high_sigma must be so far above"):
        TruncatedNormal(std=1.0, low_sigma=cut[0], high_sigma=cut[1])
