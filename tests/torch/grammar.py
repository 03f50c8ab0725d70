"""A grammar of architectures: hypothesis draws a sentence, `grown.build` makes the model it spells.

A body keeps the shape of what it is given (vectors, series or images), so that any layer may follow
any other; an end turns it into vectors, and a head into what the model returns. Sentences are plain
tuples: they print, and shrink.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import strategies as st
from mapped import FUNCTIONS

Sentence = tuple[Any, ...]
Form = Literal["vectors", "series", "tokens", "images"]

_NORMS: dict[Form, tuple[str, ...]] = {
    "vectors": ("batch", "layer", "rms", "group"),
    "series": ("layer", "rms"),
    "images": ("batch", "group", "instance", "local"),
}
_LAYERS: dict[Form, tuple[str, ...]] = {
    "vectors": ("linear", "no bias", "weight norm", "spectral norm", "bilinear", "own matrix"),
    "series": (
        *("linear", "no bias", "attention", "dot attention", "lstm", "gru", "rnn", "cell"),
        *("positions", "signal", "encoder"),
    ),
    "images": (
        *("convolution", "one by one", "depthwise", "dilated", "transposed", "pool", "largest"),
        *("squeeze", "shuffle"),
    ),
}


def _steps(form: Form) -> st.SearchStrategy[Sentence]:
    """One step of a body; those that hold other bodies are drawn by recursion."""
    layers = st.sampled_from(_LAYERS[form]).map(lambda name: ("layer", name))
    single = st.one_of(
        layers,
        layers,  # as often as all functions together
        st.sampled_from(_NORMS[form]).map(lambda name: ("norm", name)),
        st.sampled_from(sorted(FUNCTIONS)).map(lambda name: ("function", name)),
        st.sampled_from([0.1, 0.5]).map(lambda rate: ("dropout", rate)),
    )

    def nested(inner: st.SearchStrategy[Sentence]) -> st.SearchStrategy[Sentence]:
        body = st.lists(inner, min_size=1, max_size=3).map(tuple)
        return st.one_of(
            st.tuples(st.just("residual"), body),
            st.tuples(st.just("scaled residual"), body),
            st.tuples(st.just("sum"), body, body),
            st.tuples(st.just("concatenation"), body, body),
            st.tuples(st.just("gate"), body),
            st.tuples(st.just("choice"), body, body),
            st.tuples(st.just("repeat"), body, st.integers(1, 3)),
            st.tuples(st.just("while"), body),
        )

    return st.recursive(single, nested, max_leaves=4)


_LAWS = st.one_of(
    st.just(("default",)),
    st.tuples(st.just("normal"), st.sampled_from([1e-6, 0.02, 0.3, 1.0, 30.0])),
    st.tuples(st.just("uniform"), st.sampled_from([0.05, 1.0])),
    st.tuples(st.just("constant"), st.sampled_from([0.0, 0.01, 1.0, -2.0])),
    st.just(("orthogonal",)),
)


@dataclass(frozen=True)
class Case:
    """One sentence with what the model is fed and how it answers."""

    form: Form
    body: Sentence
    law: Sentence
    answer: str
    loss: str
    samples: int
    seed: int
    frozen: bool
    scale: float = 1.0


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Architectures with a batch, a law of the weights, an answer and a loss."""
    form: Form = draw(st.sampled_from(["vectors", "series", "tokens", "images"]))
    inner: Form = "series" if form == "tokens" else form
    return Case(
        form=form,
        body=tuple(draw(st.lists(_steps(inner), min_size=1, max_size=6))),
        law=draw(_LAWS),
        answer=draw(st.sampled_from(["tensor", "dict", "tuple", "data class", "generator"])),
        loss=draw(st.sampled_from(["none", "classes", "squares", "own", "step"])),
        samples=draw(st.sampled_from([1, 2, 3, 8, 16, 64])),
        seed=draw(st.integers(0, 2**20)),
        frozen=draw(st.booleans()),
        scale=draw(st.sampled_from([1.0, 1.0, 0.0, 100.0])),
    )
