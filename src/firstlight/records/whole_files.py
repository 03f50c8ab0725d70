"""Files that are either whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from firstlight.errors import BadInputError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place if the block ends well.

    Whatever goes wrong inside (an exception, Ctrl-C), the temporary file is removed and an older
    file of that name stays as it was. Links are followed, and an existing file keeps its mode.

    Args:
        path: the final place; its folder must exist.

    Yields:
        The path to write to; it does not exist yet.

    Raises:
        BadInputError: the place cannot be written.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> target = Path(folder.name) / "weights.safetensors"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_bytes(b"0123")
    >>> target.read_bytes(), len(list(target.parent.iterdir()))
    (b'0123', 1)
    >>> folder.cleanup()
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        what = "a folder" if target.is_dir() else "not a regular file"
        raise BadInputError(f"{path}: {what}; give the name of a file to write")
    temporary = target.parent / f".firstlight-{secrets.token_hex(6)}.part"
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        temporary.replace(target)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInputError(
            f"{path}: cannot be written ({reason}); choose a folder that exists, that you may "
            "write to and that has room"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` to ``path`` so that the file is never half there; see `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
