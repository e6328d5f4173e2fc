"""The seed of a session: settled once, the same on every rank, put back at the end."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import operator
import os
import random
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

from keisei_lightning.errors import SessionConfigError

if TYPE_CHECKING:
    import numpy
    import torch

__all__ = ["Restore", "check_policy", "generator", "resolve_seed", "seed_process"]

_log = logging.getLogger(__name__)
_LIMIT = 2**32
_VARIABLES = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")


def check_policy(policy: object) -> None:
    """Check a seed policy without drawing a number.

    Raises:
        SessionConfigError: It is none; the message says what to write instead.
    """
    if policy is not None and not _derives(policy):
        _number(policy, "session.seed", ', null (drawn and recorded) or "derive"')


def resolve_seed(
    policy: object, *, base: int = 42, job_num: int | None = None, published: int | None = None
) -> int:
    """Return the seed of a session, from 0 to 2**32 - 1.

    Args:
        policy: A number, ``None`` (one is drawn from the operating system) or ``"derive"``
            (``base`` plus the number of the job).
        base: Where ``"derive"`` starts.
        job_num: The number of the job in a multirun; ``None`` outside counts as 0.
        published: What rank 0 settled on. It wins: all ranks share one seed, and a rank that was
            launched as a run of its own does not know the number of its job.

    Raises:
        SessionConfigError: The policy or a number is wrong; the message names the key.
    """
    check_policy(policy)
    if published is not None:
        return _number(published, "the seed shared by rank 0")
    if policy is None:
        return secrets.randbelow(_LIMIT)
    if _derives(policy):
        return (_number(base, "session.base_seed") + (job_num or 0)) % _LIMIT
    return _number(policy, "session.seed")


class Restore:
    """Remembers environment and random numbers of a process, to put them back.

    What is remembered: ``PL_GLOBAL_SEED`` and ``PL_SEED_WORKERS`` or their absence, and the
    global generators of Python, numpy and torch, of CUDA where it is in use.
    """

    def __init__(self) -> None:
        import numpy
        import torch

        variables = {name: os.environ.get(name) for name in _VARIABLES}
        python, legacy = random.getstate(), numpy.random.get_state()
        cpu = torch.get_rng_state()
        self._steps: list[Callable[[], object]] = [
            lambda: _set_variables(variables),
            lambda: random.setstate(python),
            lambda: numpy.random.set_state(legacy),
            lambda: torch.set_rng_state(cpu),
        ]
        cuda: Any = torch.cuda
        if cuda.is_available() and cuda.is_initialized():
            devices = cuda.get_rng_state_all()
            self._steps.append(lambda: cuda.set_rng_state_all(devices))

    def restore(self) -> None:
        """Put everything back, once; a second call does nothing, and no part stops the next."""
        steps, self._steps = self._steps, []
        for step in steps:
            try:
                step()
            except Exception as error:
                _log.warning("random numbers were not put back: %s", error)


def seed_process(seed: int, workers: bool = True) -> Restore:
    """Seed Python, numpy, torch and the workers of data loaders, as Lightning does.

    Args:
        seed: From 0 to 2**32 - 1.
        workers: Whether each data loader worker gets a seed derived from it.

    Returns:
        What puts environment and generators back as they were.
    """
    from lightning.fabric.utilities.seed import seed_everything

    restore = Restore()
    try:
        seed_everything(seed, workers=workers, verbose=False)
    except BaseException:
        restore.restore()
        raise
    return restore


@overload
def generator(seed: int, name: str, kind: Literal["numpy"] = "numpy") -> numpy.random.Generator: ...


@overload
def generator(seed: int, name: str, kind: Literal["torch"]) -> torch.Generator: ...


@overload
def generator(seed: int, name: str, kind: str) -> numpy.random.Generator | torch.Generator: ...


def generator(seed: int, name: str, kind: str = "numpy") -> Any:
    """Return the generator of that name: the same numbers for the same seed, whoever else draws.

    Generators of two names are independent, and of the global ones too. Each call starts the
    stream anew.

    Raises:
        SessionConfigError: ``kind`` is neither ``numpy`` nor ``torch``.
    """
    entropy = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest()
    number = int.from_bytes(entropy, "little")
    if kind == "numpy":
        import numpy

        # PCG64 by name: what default_rng stands for may change with numpy's version.
        return numpy.random.Generator(numpy.random.PCG64(numpy.random.SeedSequence(number)))
    if kind == "torch":
        import torch

        return torch.Generator().manual_seed(number % 2**63)
    raise SessionConfigError(f'there is no generator of kind {kind!r}; write "numpy" or "torch"')


def _derives(policy: object) -> bool:
    return isinstance(policy, str) and policy == "derive"


def _number(value: object, key: str, otherwise: str = "") -> int:
    """Read a seed; digits in a string count, since that is how the environment gives them."""
    digits = value.strip() if isinstance(value, str) else ""
    with contextlib.suppress(TypeError, ValueError):
        number = int(digits) if digits.isdecimal() else operator.index(value)  # type: ignore
        if not isinstance(value, bool) and 0 <= number < _LIMIT:
            return number
    raise SessionConfigError(
        f"{key} is {_shown(value)}; write a whole number from 0 to {_LIMIT - 1}{otherwise}"
    )


def _shown(value: object) -> str:
    try:
        return f"{value!r:.100}"
    except ValueError:  # Python does not print numbers of more than 4300 digits
        return f"far too large a {type(value).__name__}"


def _set_variables(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
