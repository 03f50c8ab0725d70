"""One name for the numbers of a tensor that every framework calls by another."""

from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.laws.naming import LEAVES, addresses

_PARTS = st.sampled_from(["fc", "norm", *LEAVES, "weight", "bias"])
# Few different names, so that addresses meet often.
_NAMES = st.lists(st.tuples(_PARTS, _PARTS).map(".".join), unique=True, max_size=8)


@settings(deadline=None)
@given(_NAMES)
def test_no_two_parameters_share_an_address(names: list[str]) -> None:
    found = addresses(names)
    assert list(found) == names
    assert len(set(found.values())) == len(names)


@settings(deadline=None)
@given(_NAMES)
def test_torchs_own_names_stay(names: list[str]) -> None:
    theirs = [n for n in names if n.rpartition(".")[2] in ("weight", "bias", "fc", "norm")]
    assert addresses(theirs) == {name: name for name in theirs}


def test_one_network_in_three_frameworks() -> None:
    torch = ["fc1.weight", "fc1.bias", "norm.weight", "norm.bias", "embed.weight"]
    flax = ["fc1.kernel", "fc1.bias", "norm.scale", "norm.bias", "embed.embedding"]
    keras = ["fc1.kernel", "fc1.bias", "norm.gamma", "norm.beta", "embed.embeddings"]
    haiku = ["fc1.w", "fc1.b", "norm.scale", "norm.offset", "embed.embeddings"]
    for names in (flax, keras, haiku):
        assert list(addresses(names).values()) == torch
