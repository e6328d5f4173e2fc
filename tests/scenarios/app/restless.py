"""Forks children on request; each opens a session and changes its record until it is killed."""

import os
import sys
from pathlib import Path

import lightning.pytorch  # noqa: F401  (imported once, before the forks)

from keisei_lightning import open_session


def restless(directory: Path) -> None:
    """Change the record without a pause."""
    quiet = {"registry": {"enabled": False}, "console": {"capture": False, "banner": False}}
    with open_session(directory, session=quiet) as session:
        number = 0
        while True:
            number += 1
            session.add_artifact(f"artifact-{number % 50}", "x" * (number % 997))


if __name__ == "__main__":
    root = Path(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            restless(root / f"run-{line.strip()}")
        print(child, flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)
