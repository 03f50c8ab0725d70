"""One name for the numbers of a tensor that every framework calls by another."""

from hypothesis import given
from hypothesis import strategies as st

from firstlight.laws.naming import LEAVES, addresses

_PARTS = st.sampled_from(["fc", "norm", *LEAVES, "weight", "bias"])
_NAMES = st.lists(st.lists(_PARTS, min_size=1, max_size=3).map(".".join), unique=True, max_size=12)


@given(_NAMES)
def test_no_two_parameters_share_an_address(names: list[str]) -> None:
    found = addresses(names)
    assert list(found) == names
    assert len(set(found.values())) == len(names)


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
