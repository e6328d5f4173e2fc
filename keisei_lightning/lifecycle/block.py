"""``with open_session(...)``: the whole life cycle for a script without Hydra."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keisei_lightning import naming
from keisei_lightning.config import SessionConfig
from keisei_lightning.errors import SessionStateError
from keisei_lightning.lifecycle.joining import join, joins
from keisei_lightning.lifecycle.opening import Plan, open_plan
from keisei_lightning.lifecycle.settings import settings
from keisei_lightning.session import Session, peek

__all__ = ["open_session", "script_folder"]

_UNSET: Any = object()


@contextlib.contextmanager
def open_session(
    directory: str | Path | None = None,
    *,
    name: str | None = None,
    id: str | None = None,
    seed: Any = _UNSET,
    tags: Sequence[str] = (),
    config: Any = None,
    session: Any = None,
) -> Iterator[Session | Any]:
    """Open a session for a ``with`` block: the whole life cycle for a script without Hydra.

    Args:
        directory: The run directory; ``<script>_out/<name>`` unless given. A directory that holds
            an ended session is that session's next attempt.
        name: What people see; generated unless given.
        id: Generated unless given.
        seed: A number, ``None`` (drawn and recorded) or ``"derive"``; 42 unless given.
        tags: Free labels.
        config: Your own configuration (a mapping, dataclass, Namespace or OmegaConf node); it is
            saved, redacted, as the effective config. A ``session`` node in it counts as settings.
        session: Settings, as under ``session`` in a Hydra config, e.g.
            ``{"tracking": {"kinds": ["wandb"]}}``.

    Yields:
        The open :class:`Session` (on ranks other than 0 an object of the same surface).

    Raises:
        SessionConfigError: A setting is wrong.
        SessionCapacityError: Too many sessions run and ``on_capacity`` is ``refuse``.
        SessionError: A session is open already, or no directory can be used.
    """
    more: dict[str, Any] = {} if seed is _UNSET else {"seed": seed}
    if tags:
        more["tags"] = list(tags)
    node = config.get("session") if isinstance(config, Mapping) else None
    if session is None and node is not None:
        session = node
    settled = settings(session, **more)
    if not settled.enabled or joins():
        with join(settled) as bystander:
            yield bystander
        return
    opened = _open_block(settled, directory, name, id, config)
    try:
        yield opened
    except BaseException as error:
        opened.close(error, closed_by="with")
        raise
    opened.close(closed_by="with")


def _open_block(
    config: SessionConfig,
    directory: str | Path | None,
    name: str | None,
    id: str | None,
    task_config: Any,
) -> Session:
    current = peek()
    if isinstance(current, Session) and current.is_open:
        raise SessionStateError(
            f"session {current.id} is open in this process already; use current_session(), "
            "or close it before opening another"
        )
    id = naming.sanitise(id or config.id or naming.make_id())
    given = name or config.name
    wanted = directory or config.directory
    label = naming.choose_name(given, None, None, Path(wanted).name if wanted else id)
    if wanted is None:
        wanted = script_folder() / (label if given is None else f"{label}-{id}")
    opened = open_plan(
        Plan(
            config=config,
            directory=Path(wanted).absolute(),
            id=id,
            name=label,
            group=config.group,
            task_config=task_config,
        )
    )
    if opened.parts.refusal is not None:
        opened.close(opened.parts.refusal, closed_by="open")
        raise opened.parts.refusal
    return opened


def script_folder() -> Path:
    """``<script>_out`` beside the script that runs, or in the current directory without one."""
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    if not script:
        return Path.cwd() / "session_out"
    path = Path(script).absolute()
    return path.parent / f"{path.stem}_out"
