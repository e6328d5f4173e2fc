"""The command line ``keisei``: reading, following, comparing and cleaning up sessions."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``keisei`` and return its exit code: 0 done, 1 nothing found or not healthy, 2 usage.

    Typer and Rich are imported here, so that importing this package costs nothing.
    """
    from keisei_lightning.cli.application import run

    return run(argv)
