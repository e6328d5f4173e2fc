"""What another rank of a dead run left behind: often the reason why rank 0 was killed.

Lightning kills rank 0 when a child of its launcher fails before the Trainer is set up, and nobody
is left there to write an ending.
"""

from __future__ import annotations

import json
from pathlib import Path

from keisei_lightning.record import ExceptionFacts, LastWords

__all__ = ["last_words"]


def last_words(directory: Path | str | None) -> LastWords | None:
    """Return the words of the lowest rank that left an exception, ``None`` when none did."""
    found = []
    for path in Path(directory).glob("ranks/rank*.json") if directory is not None else ():
        try:
            data = json.loads(path.read_bytes())
            given = data["exception"]
            facts = ExceptionFacts(type=str(given["type"]), message=str(given["message"]))
            found.append(LastWords(rank=int(data["rank"]), exception=facts))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return min(found, key=lambda words: words.rank, default=None)
