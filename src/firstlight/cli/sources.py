"""Models and batches by name: ``file.py:factory``, ``module:factory``, ``8x3x32x32``, ``x.npz``.

Naming a model runs its code, as importing it would.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from firstlight.errors import BadInputError, near_names, said
from firstlight.records.codec import from_json
from firstlight.verbs.adapters import adapter_for

_SHAPE = re.compile(r"\d+(x\d+)*(:\d+)?")
_SEED = 0
_WEIGHTS = (".safetensors", ".safetensors.index.json", ".pt", ".pth", ".bin", ".ckpt")


def one_line(error: BaseException) -> str:
    """An error of the user's code as one line."""
    return f"{type(error).__name__}: {said(error)}"


def load_module(name: str) -> ModuleType:
    """The module of a path ``file.py`` or of a dotted name.

    Raises:
        BadInputError: there is none, or it raised while it was imported.
    """
    try:
        if not name.endswith(".py"):
            sys.path.insert(0, str(Path.cwd()))
            try:
                return importlib.import_module(name)
            finally:
                sys.path.remove(str(Path.cwd()))
        path = Path(name).resolve()
        if not path.is_file():
            raise BadInputError(f"{name}: no such file; expected file.py:factory or module:factory")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise BadInputError(f"{name}: not a Python file; expected file.py:factory")
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(path.parent))
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(path.parent))
        return module
    except BadInputError:
        raise
    except ModuleNotFoundError as error:
        if error.name == name or (error.name and name.startswith(f"{error.name}.")):
            raise BadInputError(
                f"{name}: no module of this name from {Path.cwd()}; expected file.py:factory or"
                " package.module:factory"
            ) from error
        raise BadInputError(f"{name}: raised {one_line(error)} while it was imported") from error
    except (Exception, SystemExit) as error:
        raise BadInputError(f"{name}: raised {one_line(error)} while it was imported") from error


def _member(module: ModuleType, where: str, factory: str) -> Any:
    names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
    if not hasattr(module, factory):
        raise BadInputError(f"{where}: has no '{factory}'; {near_names(factory, names)}")
    return getattr(module, factory)


def model_factory(name: str) -> Callable[[], Any]:
    """A callable that makes the model, or that returns the model which the name holds.

    Args:
        name: ``file.py:factory`` or ``package.module:factory``.

    Raises:
        BadInputError: no such file, module or factory. What it returns raises the same if the
            factory raises.
    """
    found = _found(name)

    def build() -> Any:
        return _called(found, name)

    if callable(found):
        build.__wrapped__ = found  # type: ignore[attr-defined]  # so that its source can be read
    return build


def _found(name: str) -> Any:
    """What stands under ``file.py:factory`` or ``package.module:factory``."""
    where, colon, factory = name.rpartition(":")
    if not colon or not where or not factory:
        raise BadInputError(
            f"model '{name}': expected file.py:factory or package.module:factory, for example"
            " models.py:build"
        )
    return _member(load_module(where), where, factory)


def source_of(name: str) -> tuple[str, int]:
    """File and line of a factory, for reports: relative to this folder where it lies below it."""
    try:
        found = inspect.unwrap(_found(name))
        path, line = inspect.getsourcefile(found), inspect.getsourcelines(found)[1]
    except (TypeError, OSError):  # a model, ready made, or one without source
        where = name.rpartition(":")[0]
        path, line = (where if where.endswith(".py") else None), 1
    if path is None:
        return "", 1
    place = Path(path).resolve()
    here = Path.cwd()
    return (place.relative_to(here) if place.is_relative_to(here) else place).as_posix(), line


def width_factory(name: str) -> Callable[[int], Any]:
    """A callable that makes the model of a width, which its factory takes as its one argument.

    Args:
        name: ``file.py:factory`` or ``package.module:factory``.

    Raises:
        BadInputError: as for `model_factory`, or a model that is ready made.
    """
    found = _found(name)
    if not callable(found) or _is_ready(found):
        raise BadInputError(f"model '{name}': expected a factory that takes a width, got a model")
    try:
        inspect.signature(found).bind(1)
    except TypeError as error:
        raise BadInputError(
            f"model '{name}': expected a factory that takes a width, as def build(width); {error}"
        ) from error
    except ValueError:  # no signature to be had
        pass
    return lambda width: _called(found, name, width)


def made(name: str) -> Any:
    """What the factory named ``file.py:factory`` or ``module:factory`` returns."""
    where, _, factory = name.rpartition(":")
    return _called(_member(load_module(where), where, factory), name)


def _called(found: Any, name: str, *arguments: Any) -> Any:
    if not callable(found) or _is_ready(found):
        return found  # a model, ready made
    try:
        return found(*arguments)
    except (Exception, SystemExit) as error:
        raise BadInputError(f"{name}: the factory raised {one_line(error)}") from error


def _is_ready(found: Any) -> bool:
    """Whether a callable is a model itself, as modules and layers of every framework are."""
    if isinstance(found, type):
        return False
    try:
        adapter_for(found)
    except BadInputError:
        return False
    return True


def weights_path(name: str) -> Path | None:
    """The path of a file or folder of weights, or None if ``name`` is that of a model.

    Weights end in .safetensors, .safetensors.index.json, .pt, .pth, .bin or .ckpt, or are a folder.

    >>> weights_path("models.py:build") is None, weights_path("model.safetensors")
    (True, PosixPath('model.safetensors'))
    """
    path = Path(name)
    return path if name.endswith(_WEIGHTS) or path.is_dir() else None


def _shaped(text: str) -> Any:
    shape_text, _, limit = text.partition(":")
    shape = tuple(int(n) for n in shape_text.split("x"))
    if 0 in shape or limit == "0" or len(limit) > 18:
        raise BadInputError(
            f"input '{text}': sizes must be at least 1, as in 8x3x32x32, and limits below 10**18"
        )
    generator = np.random.default_rng(_SEED)
    if limit:
        return generator.integers(0, int(limit), shape)
    return generator.standard_normal(shape, np.float32)


def from_npz(text: str, what: str) -> dict[str, Any]:
    """The arrays of an .npz file; ``what`` it is for is named in errors."""
    path = Path(text)
    if not path.is_file():
        raise BadInputError(f"{what} '{text}': no such file; expected an .npz with x (and y)")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadInputError(
            f"{what} '{text}': not an .npz of plain arrays; write one with numpy.savez(file, x=…)"
        ) from error


def _from_npz(text: str) -> tuple[Any, Any]:
    arrays = from_npz(text, "input")
    if set(arrays) in ({"x"}, {"x", "y"}):
        return arrays["x"], arrays.get("y")
    return arrays, None


def batch_of(text: str | None, model_name: str, target: str | None) -> tuple[Any, Any]:
    """Batch and target from the command line.

    Args:
        text: a shape of standard normal numbers (``8x3x32x32``), of integers below a limit
            (``8x16:1000``), a file ``batch.npz`` (arrays x and y, or one per keyword), or the name
            of a factory beside the model's; None for a synthetic batch.
        model_name: where that factory lives.
        target: the name of a factory for the target, or None.

    Returns:
        (batch, target), each None if not given.
    """
    where = model_name.rpartition(":")[0]
    wanted = None
    if target is not None:
        wanted = _called(_member(load_module(where), where, target), f"{where}:{target}")
    if text is None:
        return None, wanted
    if _SHAPE.fullmatch(text):
        return _shaped(text), wanted
    if text.endswith(".npz"):
        batch, found = _from_npz(text)
        return batch, found if wanted is None else wanted
    if not text.isidentifier():
        raise BadInputError(
            f"input '{text}': expected a shape (8x3x32x32; 8x16:1000 for integers below 1000), a"
            " file.npz, or the name of a factory beside the model's"
        )
    return _called(_member(load_module(where), where, text), f"{where}:{text}"), wanted


def plan_from(path: Path) -> Any:
    """A plan that was saved as JSON."""
    if not path.is_file():
        raise BadInputError(f"plan '{path}': no such file; write one with firstlight plan --out")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(f"plan '{path}': not a text file; expected a plan as JSON") from error
    record = from_json(text, str(path))
    if not hasattr(record, "apply"):
        raise BadInputError(f"plan '{path}': holds a {type(record).__name__}, expected a Plan")
    return record
