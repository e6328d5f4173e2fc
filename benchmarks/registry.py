"""What the registry costs: sessions a second, and the reading commands over 100 000 records.

Run it as ``python benchmarks/registry.py [--records 100000] [--sessions 2000]``. MLflow's SQLite
store does the same side by side where it is installed (the extra ``benchmarks``).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event

from keisei_lightning import Registry, SessionRecord, Status
from keisei_lightning.machine import identity
from keisei_lightning.record import Ending, Heartbeat, Progress, Tracker
from keisei_lightning.registry import Filters
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.tables import facts, sessions


def session(number: int, *, now: float, status: Status, **given: Any) -> SessionRecord:
    """A record of ordinary size (about 2 KB), created ``number`` minutes ago."""
    created = now - 60.0 * number
    record = SessionRecord(
        id=f"amber-finch-{number:06x}",
        name=f"lr={number % 7},model.depth={number % 5}-{number:06x}",
        status=Status.RUNNING,
        group=f"2026-01-01/12-00-{number // 50:05d}",
        tags=("baseline",) if number % 3 else ("ablation", "long"),
        created_at=iso(created),
        started_at=iso(created + 2),
        directory=f"/data/project/outputs/{number:06d}",
        argv=("train.py", *(f"model.parameter_{n}={n * number % 97}" for n in range(10))),
        overrides=tuple(f"model.parameter_{n}={n * number % 97}" for n in range(10)),
        config_hash=f"{number % 500:064x}",
        seed=number,
        heartbeat=Heartbeat(iso(created + 3000), 30.0),
        progress=Progress("train", 9, 10_000, 10_000, 100.0, 12.5, 0.0, iso(created + 3000)),
        metrics={f"val/metric_{n}": random.random() for n in range(10)},
        trackers=(Tracker("wandb", "abc", "https://wandb.example/abc", "online", "done"),),
        **{**identity(), **given},
    )
    if not status.is_final:
        return record
    ending = Ending(status, "finished", closed_by="on_job_end")
    return record.end(ending, at=iso(created + 3000), duration_s=3000.0)


def fill(registry: Registry, records: int) -> None:
    """Put so many records in: most ended, 50 alive, 50 dead."""
    random.seed(0)
    now = time.time()
    final = [status for status in Status if status.is_final]
    rows = []
    for number in range(records):
        status = Status.RUNNING if number < 100 else final[number % len(final)]
        gone = {"pid_started_at": 1.0} if number < 50 else {}
        rows.append(facts(session(number, now=now, status=status, **gone), now=now))
        if len(rows) == 5000 or number == records - 1:
            with registry._database.write() as connection:
                connection.execute(sessions.insert(), rows)
            rows = []


class DatabaseTime:
    """Adds up the seconds that statements take in the database; fetching counts in ``all_s``."""

    def __init__(self, registry: Registry) -> None:
        self.seconds = 0.0
        engine = registry._database._open()
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)

    def _before(self, *_: Any) -> None:
        self._begun = time.perf_counter()

    def _after(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._begun


def timed(registry: Registry, call: Callable[[], Any], *, times: int = 5) -> dict[str, float]:
    """Return the median seconds in the database, and in all, of a call."""
    database, wall = [], []
    meter = DatabaseTime(registry)
    for _ in range(times):
        meter.seconds = 0.0
        begun = time.perf_counter()
        call()
        wall.append(time.perf_counter() - begun)
        database.append(meter.seconds)
    return {
        "database_s": round(statistics.median(database), 4),
        "all_s": round(statistics.median(wall), 4),
        "slowest_database_s": round(max(database), 4),
    }


def reading(folder: Path, records: int) -> dict[str, Any]:
    """Time the reading commands and clean-up over many records."""
    with Registry(folder / "many.db") as registry:
        fill(registry, records)
        calls: dict[str, Callable[[], Any]] = {
            "ls, first page": lambda: registry.entries(limit=50),
            "ls, completed of a sweep": lambda: registry.entries(
                Filters(status="completed", group="2026-01-01/12-00-00042"), limit=50
            ),
            "ls --tag": lambda: registry.entries(Filters(tag="ablation"), limit=50),
            "ls --liveness alive": lambda: registry.entries(liveness="alive", limit=50),
            "find by prefix": lambda: registry.find("amber-finch-000fff"),
            "count": registry.count,
            "stats": registry.statistics,
            "health": registry.health,
        }
        found: dict[str, Any] = {"records": registry.count()}
        found.update({name: timed(registry, call) for name, call in calls.items()})
        found["cleanup, 50 dead"] = timed(registry, registry.cleanup, times=1)
        found["cleanup, nothing to do"] = timed(registry, registry.cleanup)
        found["file_mb"] = round((folder / "many.db").stat().st_size / 1e6, 1)
    return found


def writing(folder: Path, count: int) -> dict[str, float]:
    """Create and finish sessions one after the other through the API, in one process."""
    now = time.time()
    made = [session(number, now=now, status=Status.RUNNING) for number in range(count)]
    with Registry(folder / "new.db") as registry:
        registry.count()
        begun = time.perf_counter()
        for record in made:
            created = registry.create(record)
            ending = Ending(Status.COMPLETED, "max_epochs")
            registry.put(created.end(ending, at=iso(time.time()), duration_s=1.0))
        seconds = time.perf_counter() - begun
        assert registry.count(status="completed") == count
        listed = time.perf_counter()
        assert len(registry.list()) == count
        listed = time.perf_counter() - listed
    return {"sessions_per_s": round(count / seconds, 1), f"list_{count}_s": round(listed, 3)}


def mlflow_writing(folder: Path, count: int) -> dict[str, Any]:
    """Do the same with MLflow's SQLite store."""
    try:
        import mlflow
        from mlflow.tracking import MlflowClient
    except ImportError:
        return {"skipped": "MLflow is not installed: pip install keisei-lightning[benchmarks]"}
    logging.getLogger("alembic").setLevel(logging.ERROR)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("benchmark")
    begun = time.perf_counter()
    for number in range(count):
        run = client.create_run(experiment, run_name=f"run-{number}")
        client.set_terminated(run.info.run_id)
    seconds = time.perf_counter() - begun
    listed = time.perf_counter()
    client.search_runs([experiment], max_results=count)
    listed = time.perf_counter() - listed
    return {
        "version": mlflow.__version__,
        "sessions_per_s": round(count / seconds, 1),
        f"list_{count}_s": round(listed, 3),
    }


@dataclasses.dataclass
class Arguments:
    """What the command line says."""

    records: int
    sessions: int


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=2_000)
    given = Arguments(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory(prefix="keisei-benchmark-") as name:
        folder = Path(name)
        report = {
            "create + finish": {
                "keisei": writing(folder, given.sessions),
                "mlflow": mlflow_writing(folder, given.sessions),
            },
            "reading": reading(folder, given.records),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
