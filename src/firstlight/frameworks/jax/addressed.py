"""An initializer in JAX's form whose numbers are a function of an address.

The address comes from ``seed`` and ``name`` where they are given, and from the words of the key
where they are not. Keys that are being traced (jit, vmap, eval_shape) go to the host when the
program runs, so that the numbers are the same either way.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from firstlight.errors import BadInputError
from firstlight.frameworks.jax.kernel_axes import KernelAxes
from firstlight.frameworks.jax.sharding import WRITABLE, Part, by_parts, concrete, cut
from firstlight.laws.addresses import checked_seed
from firstlight.laws.complex_values import draw_complex
from firstlight.laws.draw import draw
from firstlight.laws.holding import is_elementwise
from firstlight.laws.memory import aligned
from firstlight.laws.parts import draw_part
from firstlight.records.law import Constant, Identity, Law
from firstlight.records.network import Fans, Layout

Words = NDArray[np.uint32]


@dataclass(frozen=True, kw_only=True)
class Address:
    """What is known of an address before a key comes.

    ======== ======== ==================================================================
    seed     name     the address
    ======== ======== ==================================================================
    given    given    both; the key is not looked at and may be None
    –        given    the key's first two words are the seed: ``jax.random.key(7)`` is 7
    –        –        likewise, with an empty name
    given    –        the key's words, in hexadecimal, are the name: no clones
    ======== ======== ==================================================================

    Further words of a key (``rbg`` has four) go into the namespace.
    """

    seed: int | None = None
    name: str | None = None
    namespace: str = ""

    def __post_init__(self) -> None:
        if self.seed is not None:
            checked_seed(self.seed)

    @property
    def complete(self) -> bool:
        """Whether no key is needed."""
        return self.seed is not None and self.name is not None

    def of(self, words: Words) -> tuple[int, str, str]:
        """Seed, name and namespace under one key."""
        if self.seed is not None and self.name is not None:
            return self.seed, self.name, self.namespace
        spelled = [f"{int(word):08x}" for word in words]
        if self.seed is not None:
            return self.seed, "key:" + "".join(spelled), self.namespace
        seed = int(words[0]) << 32 | int(words[1]) if len(words) > 1 else int(words[0])
        return seed, self.name or "", self.namespace + "".join(spelled[2:])


def key_words(key: Any) -> Array:
    """The words of a key of either kind, typed or an array of uint32."""
    if isinstance(key, jax.Array | np.ndarray) or hasattr(key, "dtype"):
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            words: Array = jax.random.key_data(key)
            return words
        if key.dtype == np.uint32 and key.ndim == 1:
            return key  # type: ignore[no-any-return]
    raise BadInputError(
        f"key: expected jax.random.key(…) or PRNGKey(…), got {type(key).__name__}; or give seed"
        " and name"
    )


def dtype_of(dtype: Any) -> np.dtype[Any]:
    """The dtype that an array will have: JAX's default for None, and 32 bits without x64."""
    asked = float if dtype is None else dtype
    return np.dtype(jax.dtypes.canonicalize_dtype(asked))


def _is_tracing() -> bool:
    """Whether JAX is writing down a program, and arrays made now are constants in it."""
    return isinstance(jnp.zeros(()), jax.core.Tracer)


def _array(values: NDArray[Any]) -> Array:
    array: Array = jax.device_put(values, may_alias=True)  # nobody else holds the values
    return array


@dataclass(frozen=True, kw_only=True)
class Addressed:
    """``init(key, shape, dtype=None, out_sharding=None)`` over a law.

    Equal arguments make equal initializers, so that modules that hold them stay equal, too.

    Args:
        what: its name, for errors.
        rule: from a layout and its fans to the law; called with the options.
        options: by name, hashable.
        axes: of the arrays to come.
        dtype: default of the call.
        address: as far as it is known.
    """

    what: str
    rule: Callable[..., Law] = field(repr=False)
    options: tuple[tuple[str, Any], ...] = ()
    axes: KernelAxes = field(default_factory=KernelAxes)
    dtype: Any = None
    address: Address = field(default_factory=Address)

    def law(self, shape: tuple[int, ...]) -> tuple[Law, Layout]:
        """The law of an array of this shape, and its axes."""
        try:
            layout = self.axes.layout(shape)
            found: Fans | None = self.axes.fans(layout)
            return self.rule(layout, found, **dict(self.options)), layout
        except BadInputError as error:
            text = str(error)
            raise BadInputError(
                text if text.startswith(self.what) else f"{self.what}: {text}"
            ) from error

    def __call__(
        self,
        key: Any,
        shape: Sequence[int],
        dtype: Any = None,
        out_sharding: Any = None,
    ) -> Array:
        """An array of numbers.

        Args:
            key: of ``jax.random``, of either kind; None if seed and name are given.
            shape: of the array.
            dtype: floating or complex; the initializer's own by default, then JAX's.
            out_sharding: where the array goes: a sharding, or a spec of the mesh that is set. Out
                of jit elementwise laws draw each part alone; a compiled program gets the whole from
                the host.

        Raises:
            BadInputError: a shape that the law cannot fill, a dtype or a key that is none.
        """
        shape = tuple(operator.index(size) for size in shape)
        exact = dtype_of(self.dtype if dtype is None else dtype)
        if 0 in shape:
            return _placed(jnp.zeros(shape, exact), out_sharding)
        law, layout = self.law(shape)
        self._check_dtype(law, exact)
        if isinstance(law, Constant):
            return _placed(jnp.full(shape, law.value, exact), out_sharding)

        def numbers(words: Words, part: Part | None = None) -> NDArray[Any]:
            seed, name, namespace = self.address.of(words)
            at: dict[str, Any] = {"name": name, "seed": seed, "namespace": namespace}
            if exact.kind == "c":
                return draw_complex(law, layout, **at).astype(exact, copy=False)
            written = exact if exact.name in WRITABLE else np.dtype(np.float32)
            if part is None:
                out = draw(law, layout, **at, out=aligned(shape, written))
            else:
                out = aligned(tuple(map(len, part)), written)
                draw_part(law, layout, part, **at, out=out)
            return out.astype(exact, copy=False)

        def made(words: Words) -> Array:
            if out_sharding is not None and not _is_tracing():
                goal = concrete(out_sharding)
                if isinstance(goal, jax.sharding.Sharding):
                    alone = exact.kind != "c" and is_elementwise(law)
                    if alone:
                        return by_parts(shape, goal, lambda part: numbers(words, part))
                    return cut(numbers(words), goal)
            return _placed(_array(numbers(words)), out_sharding)

        if self.address.complete and not isinstance(key, jax.core.Tracer):
            return made(np.zeros(0, np.uint32))
        words = key_words(key)
        if not isinstance(words, jax.core.Tracer):
            return made(np.asarray(words))

        def host(words: Any) -> NDArray[Any]:
            every = np.asarray(words)
            lead = every.shape[:-1]  # vmap's axes
            if not lead:
                return numbers(every)
            whole = np.empty((*lead, *shape), exact)
            for place in np.ndindex(*lead):
                whole[place] = numbers(every[place])
            return whole

        result = jax.ShapeDtypeStruct(shape, exact)
        return _placed(
            jax.pure_callback(host, result, words, vmap_method="expand_dims"), out_sharding
        )

    def _check_dtype(self, law: Law, dtype: np.dtype[Any]) -> None:
        if not jnp.issubdtype(dtype, jnp.inexact) and not isinstance(law, Constant | Identity):
            raise BadInputError(
                f"{self.what}: dtype must be floating or complex, got {dtype}; use zeros or ones"
            )


def _placed(array: Array, sharding: Any) -> Array:
    if sharding is None:
        return array
    placed: Array = jax.sharding.reshard(array, sharding)
    return placed
