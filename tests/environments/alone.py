"""One extra alone: that Firstlight works with one framework and loads no other.

    python alone.py torch | jax | keras torch | keras jax

Each step runs in an interpreter of its own, since what is loaded once stays loaded. `run.sh` calls
it in environments where the other frameworks are not even installed; `test_imports_apart.py` where
all of them are.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

FRAMEWORKS = ("torch", "keras", "jax", "flax", "tensorflow")

WAYS = (("torch",), ("jax",), ("keras", "torch"), ("keras", "jax"))

LOADED = f"""
import sys
loaded = {{name for name in {FRAMEWORKS!r} if name in sys.modules}}
"""

# What `import firstlight` brings: no framework, and not the compiler either.
NOTHING = f"""
import firstlight
{LOADED}
assert not loaded, loaded
assert "numba" not in sys.modules and "scipy" not in sys.modules
firstlight.techniques()
values = firstlight.draw("he_normal", shape=(16, 8), name="fc1.weight", seed=0)
assert values.shape == (16, 8)
try:
    firstlight.check(object())
except firstlight.BadInputError as error:
    assert "\\n" not in str(error)
else:
    raise AssertionError("an object passed for a model")
{LOADED}
assert not loaded, loaded
"""

DROP_IN = """
import {framework}
{LOADED}
before = loaded
import firstlight.{framework} as drop_in
{LOADED}
assert loaded == before, loaded - before
{use}
{LOADED}
assert loaded == before, loaded - before
"""

VERBS = """
{model}
{LOADED}
before = loaded
import firstlight as fl
batch = np.random.default_rng(0).standard_normal((64, 12), np.float32)
target = np.random.default_rng(1).integers(0, 3, 64)
checkup = fl.check(build(), feed(batch), target=feed(target))
assert checkup.layers, checkup
receipt = fl.initialize(build(), feed(batch), target=feed(target), seed=0)
assert receipt.after.healthy, receipt.after
assert len(list(fl.audit(receipt.model))) == 4
checkup.save("checkup.json")
assert fl.load("checkup.json") == checkup
{LOADED}
assert loaded == before, loaded - before
"""

MODELS = {
    "torch": """
import numpy as np, torch
from torch import nn
feed = torch.from_numpy
def build():
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
""",
    "keras": """
import numpy as np, keras
feed = keras.ops.convert_to_tensor
def build():
    layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((12,)), *layers])
""",
    "jax": """
import numpy as np, jax, jax.numpy as jnp
feed = jnp.asarray
def model(parameters, x):
    hidden = jax.nn.relu(x @ parameters["fc1"]["kernel"] + parameters["fc1"]["bias"])
    return hidden @ parameters["fc2"]["kernel"] + parameters["fc2"]["bias"]
def build():
    def dense(inputs, outputs):
        kernel = jax.random.normal(jax.random.key(inputs), (inputs, outputs)) * inputs**-0.5
        return {"kernel": kernel, "bias": jnp.zeros(outputs)}
    return model, {"fc1": dense(12, 16), "fc2": dense(16, 3)}
""",
}

USES = {
    "torch": """
tensor = __import__("torch").empty(16, 8)
drop_in.he_normal_(tensor)
assert tensor.std() > 0
""",
    "keras": """
values = drop_in.he_normal(seed=0)((16, 8))
assert tuple(values.shape) == (16, 8)
""",
    "jax": """
import jax
values = drop_in.he_normal()(jax.random.key(0), (16, 8))
assert values.shape == (16, 8)
""",
}

COMMANDS = (
    ("check", "model.py:build", "--input", "64x12", "--quiet"),
    ("plan", "model.py:build", "--input", "64x12", "--quiet"),
)


def run(what: str, arguments: list[str], folder: str) -> None:
    """A program with this interpreter, in ``folder``; its output is shown if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{what}: status {done.returncode}\n{done.stdout}{done.stderr}")


def programs(framework: str) -> dict[str, str]:
    """The steps as programs, by what they prove.

    What a framework loads by itself is its own affair: Keras on torch loads JAX where it is there.
    """
    fill = {"framework": framework, "LOADED": LOADED}
    return {
        "import firstlight": NOTHING,
        f"import firstlight.{framework}": DROP_IN.format(use=USES[framework], **fill),
        "the verbs": VERBS.format(model=MODELS[framework], **fill),
    }


def main(framework: str, backend: str | None = None) -> None:
    """Run every step; stop at the first that fails."""
    os.environ["PYTHONWARNINGS"] = "ignore"
    if backend is not None:
        os.environ["KERAS_BACKEND"] = backend
    others = {"torch", "keras", "jax"} - {framework, backend}
    present = {name for name in others if find_spec(name) is not None}
    if present:
        sys.exit(f"{framework}: not alone, {', '.join(sorted(present))} is installed too")
    with tempfile.TemporaryDirectory() as folder:
        for what, program in programs(framework).items():
            run(what, ["-c", program], folder)
        (Path(folder) / "model.py").write_text(MODELS[framework])
        for command in COMMANDS:
            run("firstlight " + " ".join(command), ["-m", "firstlight", *command], folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
