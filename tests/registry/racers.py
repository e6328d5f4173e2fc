"""Processes that race for slots; run as a script by the tests of admission.

``python racers.py URL FOLDER PROCESSES SLOTS POLICY KILLED``: each process marks its slot with a
file while it holds it, so that what really ran at once is seen without asking the registry. The
first ``KILLED`` that get a slot are killed in it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from keisei_lightning.errors import SessionCapacityError
from keisei_lightning.machine import identity
from keisei_lightning.record import Ending, SessionRecord, Status
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.store import Registry


def race(url: str, folder: Path, number: int, slots: int, policy: str, killed: int) -> None:
    """Ask for a slot, hold it for a moment, give it back; the outcome is left in a file."""
    record = SessionRecord(
        id=f"racer-{number:02d}", name=f"racer {number}", created_at=iso(time.time()), **identity()
    )
    outcome = "refused"
    most = 0
    settings = {"max_concurrent": slots, "on_capacity": policy, "timeout_s": 60.0}
    with Registry(url, settings) as registry:
        try:
            registry.admit(record)
        except SessionCapacityError:
            (folder / f"{number}.json").write_text(json.dumps({"outcome": outcome, "most": 0}))
            return
        mark = folder / f"{number}.holds"
        mark.touch()
        most = len(list(folder.glob("*.holds")))
        if _to_be_killed(folder, killed):
            (folder / f"{number}.json").write_text(json.dumps({"outcome": "killed", "most": most}))
            mark.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.1 if policy == "wait" else 3.0)
        most = max(most, len(list(folder.glob("*.holds"))))
        mark.unlink()
        running = registry.get(record.id)
        registry.put(running.end(Ending(Status.COMPLETED, "finished"), at=iso(time.time())))
    (folder / f"{number}.json").write_text(json.dumps({"outcome": "ran", "most": most}))


def _to_be_killed(folder: Path, killed: int) -> bool:
    for place in range(killed):
        try:
            (folder / f"kill-{place}").touch(exist_ok=False)
            return True
        except FileExistsError:
            continue
    return False


def main() -> None:
    """Fork the racers and wait for all of them."""
    url, folder, processes, slots, policy, killed = sys.argv[1:]
    gate = time.time() + 1.0
    children = []
    for number in range(int(processes)):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                time.sleep(max(0.0, gate - time.time()))
                race(url, Path(folder), number, int(slots), policy, int(killed))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
