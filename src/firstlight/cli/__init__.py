"""The command line: ``firstlight check | audit | plan | init | race | predict | …``."""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``firstlight`` command."""
    from firstlight.cli.app import run

    raise SystemExit(run())
