"""Which rank this process is, and how all ranks of a run come to share one identity.

Lightning's DDP launcher starts rank 1, 2 … as children of rank 0, with its environment; there
the identity is published. torchrun and Slurm start all ranks from outside; there rank 0 shares it
by a broadcast in ``setup``, the first place where a collective is safe.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keisei_lightning.record import ExceptionFacts, LastWords, Place

__all__ = [
    "Identity",
    "from_outside",
    "killed_children",
    "launch_seed",
    "publish",
    "published",
    "rank_of",
    "read_words",
    "restore_environment",
    "stories",
    "world_size_of",
    "write_words",
]

_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")
_WORLDS = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_PREFIX = "KEISEI_SESSION_"
_LEFT_BEHIND = (_PREFIX, "PL_", "WANDB_")
_RENDEZVOUS = (
    *("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("GROUP_RANK", "OMP_NUM_THREADS"),
)
_LAUNCH = (
    "TORCHELASTIC_RUN_ID",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_RESTART_COUNT",
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What the ranks of one run share; ``pid`` is the leader's."""

    id: str
    name: str
    directory: str
    seed: int | None
    attempt: int
    pid: int


def rank_of(env: Mapping[str, str] = os.environ) -> int:
    """The global rank of this process, 0 when nobody says otherwise.

    Slurm's number counts only when the job step has several tasks: one task is no rank.
    """
    for name in _RANKS:
        if name == "SLURM_PROCID" and _number(env, "SLURM_NTASKS") in (None, 1):
            continue
        rank = _number(env, name)
        if rank is not None:
            return rank
    local, node = _number(env, "LOCAL_RANK"), _number(env, "NODE_RANK")
    if local is None or not node:
        return local or 0
    # Lightning's launcher gives every node as many processes as the first.
    nodes = _number(env, "NUM_NODES") or node + 1
    return node * max((_number(env, "WORLD_SIZE") or nodes) // nodes, 1) + local


def world_size_of(env: Mapping[str, str] = os.environ) -> int:
    """How many ranks the environment speaks of, 1 when it does not."""
    return next((size for name in _WORLDS if (size := _number(env, name))), 1)


def from_outside(env: Mapping[str, str] = os.environ) -> bool:
    """Whether something other than Lightning (torchrun, Slurm, MPI) starts the ranks."""
    if published(env) is not None:
        return False
    return world_size_of(env) > 1 and any(name in env for name in (*_RANKS, "TORCHELASTIC_RUN_ID"))


def launch_seed(env: Mapping[str, str], job_num: int | None) -> int:
    """A seed that all ranks started from outside compute alike, fresh for each launch."""
    facts = [env.get(name, "") for name in _LAUNCH]
    if env.get("LOCAL_WORLD_SIZE") == env.get("WORLD_SIZE"):
        facts.append(str(os.getppid()))  # one node: the agent is everybody's parent
    text = "\0".join([*facts, str(job_num)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def publish(identity: Identity, env: MutableMapping[str, str] = os.environ) -> None:
    """Put the identity where Lightning's children will find it."""
    for key, value in asdict(identity).items():
        if value is not None:
            env[_PREFIX + key.upper()] = str(value)


def published(env: Mapping[str, str] = os.environ) -> Identity | None:
    """The identity in the environment, if there is a whole one."""
    try:
        seed = env.get(_PREFIX + "SEED")
        return Identity(
            id=env[_PREFIX + "ID"],
            name=env[_PREFIX + "NAME"],
            directory=env[_PREFIX + "DIRECTORY"],
            seed=None if seed is None else int(seed),
            attempt=int(env[_PREFIX + "ATTEMPT"]),
            pid=int(env[_PREFIX + "PID"]),
        )
    except (KeyError, ValueError):
        return None


def restore_environment(before: Mapping[str, str]) -> None:
    """Put back what a run leaves in the environment: the identity, and the launcher's ranks.

    Lightning leaves ``LOCAL_RANK=0`` and its rendezvous behind, and the next job of a sweep would
    believe it; W&B and the seed leave theirs.
    """
    for name in {*os.environ, *before}:
        if not name.startswith(_LEFT_BEHIND) and name not in _RENDEZVOUS:
            continue
        if name in before:
            os.environ[name] = before[name]
        else:
            os.environ.pop(name, None)


def write_words(path: Path, words: LastWords, story: str) -> None:
    """Leave a rank's last words for rank 0 and for readers.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**asdict(words), "traceback": story, "pid": os.getpid()}, indent=2)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def read_words(folder: Path) -> tuple[LastWords, ...]:
    """The last words of all ranks that left any, by rank; damaged files are passed over."""
    found = []
    for path in sorted(folder.glob("rank*.json")):
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            exception = data.get("exception")
            found.append(
                LastWords(
                    rank=int(data["rank"]),
                    exception=ExceptionFacts(**exception) if exception else None,
                    place=Place(**data["place"]),
                    signal=data.get("signal"),
                )
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return tuple(sorted(found, key=lambda words: words.rank))


def stories(folder: Path) -> str:
    """The tracebacks that other ranks left, each under a heading; empty when there are none."""
    told = []
    for path in sorted(folder.glob("rank*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.get("traceback"):
                told.append(f"\n--- rank {data['rank']} ---\n{data['traceback']}")
        except (OSError, ValueError, KeyError):
            continue
    return "".join(told)


def killed_children(codes: Mapping[int, int | None]) -> tuple[LastWords, ...]:
    """Words for those ranks that could not speak: exit codes by rank, negative for a signal."""
    return tuple(
        LastWords(rank=rank, signal=_signal_name(-code))
        for rank, code in sorted(codes.items())
        if code is not None and code < 0
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _number(env: Mapping[str, str], name: str) -> int | None:
    value = env.get(name, "")
    return int(value) if value.isdigit() else None
