"""What Keras's own tests of its initializers ask for, as a table; it holds for Keras and for us.

Each row is asked of both libraries. A row in `DIFFERENT` has another answer from each, with the
reason; all other rows must have the one answer that is written here. Tolerances are five standard
errors of what is estimated.
"""

from __future__ import annotations

import warnings

import keras
import numpy as np

L = keras.layers
WIDE = (300, 200)
RANDOM = (
    "RandomNormal",
    "TruncatedNormal",
    "RandomUniform",
    "VarianceScaling",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
)
FIXED = ("Zeros", "Ones", "Constant", "Identity")


def values(initializer, shape=(25, 20), dtype=None):
    return np.asarray(keras.ops.convert_to_numpy(initializer(shape, dtype=dtype)))


def same(a, b):
    return bool(np.array_equal(a, b))


def close(value, wanted, *, error):
    """Whether an estimate lies within five of its standard errors."""
    return bool(abs(value / wanted - 1) < 5 * error)


def std(initializer, shape=WIDE):
    return values(initializer, shape).std()


NORMAL = 1 / np.sqrt(2 * np.prod(WIDE))  # relative standard error of a normal law's deviation


def raises(call, *kinds):
    try:
        call()
    except kinds:
        return True
    return False


def cloned(initializer):
    return type(initializer).from_config(initializer.get_config())


def as_its_copy(initializer):
    return same(values(initializer), values(cloned(initializer)))


def orthonormal(lib, shape, gain=2.0):
    w = values(lib.Orthogonal(gain=gain, seed=1), shape).reshape(-1, shape[-1])
    if w.shape[0] < w.shape[1]:
        w = w.T
    return bool(np.allclose(w.T @ w, gain**2 * np.eye(w.shape[1]), atol=1e-4))


def dense_pair(lib):
    """Two layers of one shape and one shared initializer with an integer seed."""
    init = lib.HeNormal(seed=3)
    layers = [L.Dense(6, kernel_initializer=init, name=name) for name in ("one", "two")]
    for layer in layers:
        layer.build((None, 5))
    return same(*[keras.ops.convert_to_numpy(layer.kernel) for layer in layers])


def attention_pair(lib):
    layer = L.MultiHeadAttention(2, 4, kernel_initializer=lib.HeNormal(seed=3))
    layer.build((None, 5, 8), (None, 5, 8))
    kernels = [layer.query_dense.kernel, layer.key_dense.kernel]
    return same(*[keras.ops.convert_to_numpy(kernel) for kernel in kernels])


def query_variance(lib):
    layer = L.MultiHeadAttention(8, 32, kernel_initializer=lib.LecunNormal(seed=3))
    layer.build((None, 5, 64), (None, 5, 64))
    kernel = keras.ops.convert_to_numpy(layer.query_dense.kernel)
    return close(kernel.std(), 1 / 8, error=1 / np.sqrt(2 * kernel.size))


def generator_calls(lib):
    init = lib.RandomNormal(seed=keras.random.SeedGenerator(1337))
    return same(values(init), values(init))


def global_seed(lib):
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(1337)
        drawn.append(values(lib.HeNormal()))
    return same(*drawn)


def axes_std(lib, **axes):
    init = lib.VarianceScaling(scale=2.0, seed=1, **axes)
    return std(init, (32, 40, 48)) * np.sqrt(1 / 2.0)


def half(lib, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            w = values(lib.Orthogonal(seed=0), (6, 6), dtype).astype("float32")
        except Exception:
            return "raises"
    return "orthogonal" if np.allclose(w.T @ w, np.eye(6), atol=0.05) else "not orthogonal"


ROWS = {
    **{f"{n}: shape": (lambda lib, n=n: values(getattr(lib, n)()).shape, (25, 20)) for n in RANDOM},
    **{
        f"{n}: shape": (lambda lib, n=n: values(getattr(lib, n)(), (3, 3)).shape, (3, 3))
        for n in FIXED
    },
    **{
        f"{n}: {d}": (
            lambda lib, n=n, d=d: keras.backend.standardize_dtype(
                getattr(lib, n)()((4, 4), dtype=d).dtype
            ),
            d,
        )
        for n in ("HeNormal", "GlorotUniform", "Zeros", "Constant", "Identity")
        for d in ("float16", "bfloat16", "float32")
    },
    "default dtype is floatx": (
        lambda lib: keras.backend.standardize_dtype(lib.HeNormal()((4, 4)).dtype),
        keras.config.floatx(),
    ),
    **{
        f"{n}: an integer seed repeats": (
            lambda lib, n=n: same(*[values(init) for init in [getattr(lib, n)(seed=9)] * 2]),
            True,
        )
        for n in RANDOM
    },
    **{
        f"{n}: no seed, one instance repeats": (
            lambda lib, n=n: same(*[values(init) for init in [getattr(lib, n)()] * 2]),
            True,
        )
        for n in RANDOM
    },
    **{
        f"{n}: two instances without a seed": (
            lambda lib, n=n: same(values(getattr(lib, n)()), values(getattr(lib, n)())),
            False,
        )
        for n in RANDOM
    },
    **{
        f"{n}: a copy with a seed": (
            lambda lib, n=n: as_its_copy(getattr(lib, n)(seed=4)),
            True,
        )
        for n in RANDOM
    },
    "a copy without a seed": (lambda lib: as_its_copy(lib.RandomNormal()), False),
    "a generator draws anew": (generator_calls, False),
    "a generator survives the trip": (
        lambda lib: as_its_copy(lib.VarianceScaling(seed=keras.random.SeedGenerator(7))),
        True,
    ),
    "set_random_seed reproduces": (global_seed, True),
    "seeds differ": (
        lambda lib: same(values(lib.HeNormal(seed=1)), values(lib.HeNormal(seed=2))),
        False,
    ),
    "a bad seed": (lambda lib: raises(lambda: lib.HeNormal(seed=1.5), ValueError), True),
    "a bad seed, text": (lambda lib: raises(lambda: lib.RandomNormal(seed="1"), ValueError), True),
    "an unknown argument": (lambda lib: raises(lambda: lib.HeNormal(spread=2), TypeError), True),
    "RandomNormal: arguments": (
        lambda lib: (i := lib.RandomNormal(0.5, 2.0, 1234)) and (i.mean, i.stddev, i.seed),
        (0.5, 2.0, 1234),
    ),
    "RandomUniform: arguments": (
        lambda lib: (i := lib.RandomUniform(-1.0, 3.0, 1234)) and (i.minval, i.maxval, i.seed),
        (-1.0, 3.0, 1234),
    ),
    "Orthogonal: arguments": (
        lambda lib: (i := lib.Orthogonal(2.0, 1234)) and (i.gain, i.seed),
        (2.0, 1234),
    ),
    "VarianceScaling: arguments": (
        lambda lib: (
            (i := lib.VarianceScaling(2.0, "fan_out", "normal", 5, [0], [1]))
            and (i.scale, i.mode, i.distribution, i.seed, i.input_axes, i.output_axes)
        ),
        (2.0, "fan_out", "truncated_normal", 5, [0], [1]),
    ),
    "HeNormal: the seed comes first": (lambda lib: lib.HeNormal(7).seed, 7),
    "RandomNormal: deviation": (
        lambda lib: close(std(lib.RandomNormal(stddev=2.0, seed=1)), 2.0, error=NORMAL),
        True,
    ),
    "RandomNormal: mean": (
        lambda lib: abs(values(lib.RandomNormal(3.0, 1.0, 1), WIDE).mean() - 3) < 5 / 300**0.5 / 14,
        True,
    ),
    "RandomUniform: bounds": (
        lambda lib: (
            (w := values(lib.RandomUniform(-1.0, 3.0, 1), WIDE)).min() >= -1
            and w.max() < 3
            and w.max() - w.min() > 3.99
        ),
        True,
    ),
    **{
        f"VarianceScaling: {mode}": (
            lambda lib, mode=mode, fan=fan: close(
                std(lib.VarianceScaling(2.0, mode, seed=1)), np.sqrt(2 / fan), error=NORMAL
            ),
            True,
        )
        for mode, fan in (("fan_in", 300), ("fan_out", 200), ("fan_avg", 250))
    },
    **{
        f"VarianceScaling: {law}": (
            lambda lib, law=law, cut=cut: (
                close(
                    std(init := lib.VarianceScaling(distribution=law, seed=1)),
                    1 / np.sqrt(300),
                    error=NORMAL,
                )
                and abs(values(init, WIDE)).max() * np.sqrt(300) < cut
            ),
            True,
        )
        for law, cut in (
            ("truncated_normal", 2.2738),
            ("normal", 2.2738),
            ("untruncated_normal", 6.0),
            ("uniform", 1.7321),
        )
    },
    "VarianceScaling: scale": (
        lambda lib: raises(lambda: lib.VarianceScaling(scale=-1.0), ValueError),
        True,
    ),
    "VarianceScaling: mode": (
        lambda lib: raises(lambda: lib.VarianceScaling(mode="fan"), ValueError),
        True,
    ),
    "VarianceScaling: distribution": (
        lambda lib: raises(lambda: lib.VarianceScaling(distribution="cauchy"), ValueError),
        True,
    ),
    "VarianceScaling: input axes": (
        lambda lib: round(axes_std(lib, input_axes=[0], output_axes=[1, 2]) * 32**0.5, 1),
        1.0,
    ),
    "VarianceScaling: two input axes": (
        lambda lib: round(axes_std(lib, input_axes=[0, 1], output_axes=[2]) * 1280**0.5, 1),
        1.0,
    ),
    "VarianceScaling: a kernel without axes": (
        lambda lib: round(axes_std(lib) * 1280**0.5, 1),
        1.0,
    ),
    "attention's query counts its inputs": (query_variance, True),
    **{
        f"Orthogonal: {shape}": (lambda lib, shape=shape: orthonormal(lib, shape), True)
        for shape in ((5, 5), (8, 3), (3, 8), (3, 3, 4, 8), (2, 2, 2, 16))
    },
    "Orthogonal: a vector": (
        lambda lib: raises(lambda: values(lib.Orthogonal(), (5,)), ValueError),
        True,
    ),
    "HeNormal: a vector has fans of its size": (
        lambda lib: close(std(lib.HeNormal(seed=0), (60000,)), np.sqrt(2 / 60000), error=NORMAL),
        True,
    ),
    "HeNormal: a number": (lambda lib: values(lib.HeNormal(seed=0), ()).shape, ()),
    "HeNormal: nothing": (lambda lib: values(lib.HeNormal(seed=0), (0, 4)).shape, (0, 4)),
    "Zeros": (lambda lib: values(lib.Zeros(), (2, 2)).tolist(), [[0, 0], [0, 0]]),
    "Ones": (lambda lib: values(lib.Ones(), (2, 2)).tolist(), [[1, 1], [1, 1]]),
    "Constant": (lambda lib: values(lib.Constant(6.0), (2, 2)).tolist(), [[6, 6], [6, 6]]),
    "Constant: an array": (
        lambda lib: values(cloned(lib.Constant(np.arange(3.0))), (2, 3)).tolist(),
        [[0, 1, 2], [0, 1, 2]],
    ),
    "Identity": (lambda lib: values(lib.Identity(2), (2, 3)).tolist(), [[2, 0, 0], [0, 2, 0]]),
    "Identity: a vector": (
        lambda lib: raises(lambda: values(lib.Identity(), (3,)), ValueError),
        True,
    ),
    "STFT": (
        lambda lib: bool(np.allclose(values(lib.STFT("real", None), (8, 1, 5))[0], 1.0)),
        True,
    ),
    "STFT: a bad side": (lambda lib: raises(lambda: lib.STFT("imaginary"), ValueError), True),
    "an array is an initializer": (
        lambda lib: values(lib.get(np.eye(2, dtype="float32")), (2, 2)).tolist(),
        [[1, 0], [0, 1]],
    ),
    "get(None)": (lambda lib: lib.get(None), None),
    "get of a wrong name": (lambda lib: raises(lambda: lib.get("typo"), ValueError), True),
    "names of old": (
        lambda lib: (
            (lib.OrthogonalInitializer, lib.IdentityInitializer, lib.STFTInitializer)
            == (lib.Orthogonal, lib.Identity, lib.STFT)
        ),
        True,
    ),
    # What follows differs; DIFFERENT says how and why.
    "one instance in two layers": (dense_pair, True),
    "one instance in one attention layer": (attention_pair, True),
    "TruncatedNormal: deviation": (
        lambda lib: round(float(std(lib.TruncatedNormal(stddev=1.0, seed=1))), 2),
        0.88,
    ),
    "Identity: a kernel": (
        lambda lib: raises(lambda: values(lib.Identity(), (3, 3, 2, 2)), ValueError),
        True,
    ),
    "a seed of NumPy's": (lambda lib: raises(lambda: lib.HeNormal(np.int64(3)), ValueError), True),
    "HeNormal is a VarianceScaling": (
        lambda lib: isinstance(lib.HeNormal(), keras.initializers.VarianceScaling),
        True,
    ),
    "HeNormal: config": (
        lambda lib: sorted(lib.HeNormal().get_config()),
        ["input_axes", "output_axes", "seed"],
    ),
}
DIFFERENT = {
    "one instance in two layers": (False, "clones: the address holds the variable's path"),
    "one instance in one attention layer": (False, "clones: queries and keys would start equal"),
    "TruncatedNormal: deviation": (1.0, "`stddev` is that of what is drawn, not of its parent"),
    "Identity: a kernel": (False, "kernels are filled at their centre"),
    "a seed of NumPy's": (False, "an integer of NumPy's is an integer"),
    "HeNormal is a VarianceScaling": (False, "one class for each technique of the registry"),
    "HeNormal: config": (
        ["axes", "input_axes", "mode", "name", "output_axes", "seed", "slope"],
        "our options too",
    ),
}
