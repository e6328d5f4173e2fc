"""What W&B is asked for: pure functions, nothing of W&B is imported."""

from __future__ import annotations

import netrc
import os
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["WandbOptions", "choose_mode", "has_key", "run_settings", "sync_command"]


@dataclass(frozen=True, slots=True)
class WandbOptions:
    """One session's W&B run.

    Attributes:
        id: Of the session, and of the run: the next attempt continues the same run.
        directory: The run directory; W&B's own files go into ``wandb/`` in it.
        attempt: 1 for the first; a later one resumes.
        close_budget_s: Seconds the close of a session may take; bounds W&B's own ``finish``.
    """

    id: str
    name: str
    directory: Path
    project: str
    entity: str | None = None
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] = ()
    mode: str | None = None
    attempt: int = 1
    init_timeout: float = 15.0
    close_budget_s: float = 30.0
    settings: Mapping[str, Any] = field(default_factory=dict)


def choose_mode(configured: str | None, environ: str | None, *, key: bool) -> tuple[str, str]:
    """Return the mode and, when it is not what W&B would have done, why.

    Explicit config wins over ``WANDB_MODE`` over online; nothing goes online without a key, since
    W&B would ask for one on the terminal.
    """
    wanted = {"dryrun": "offline", "run": "online"}.get(asked := configured or environ or "", asked)
    if wanted in ("offline", "disabled"):
        return wanted, ""
    if not key:
        return "offline", "there is no W&B API key (set WANDB_API_KEY or run `wandb login`)"
    return wanted or "online", ""


def has_key(environ: Mapping[str, str], base_url: str) -> bool:
    """Return whether a key for ``base_url`` is in the environment or in the netrc file."""
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(base_url).hostname or ""
    home = environ.get("HOME") or os.path.expanduser("~")
    for path in (environ.get("NETRC"), f"{home}/.netrc", f"{home}/_netrc"):
        try:
            if path and netrc.netrc(os.path.expanduser(path)).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def run_settings(
    options: WandbOptions,
    known: Collection[str],
    *,
    argv: Iterable[str] = (),
    redact: Callable[[str], str] = str,
) -> dict[str, Any]:
    """Return fields of ``wandb.Settings``: only those this version knows; the user's own win.

    The console is not captured by W&B: it would put its own socket under every ``print`` of the
    training thread. Its metadata holds ``sys.argv``, so it is left out when that has a secret.
    """
    wanted: dict[str, Any] = {
        "init_timeout": options.init_timeout,
        "finish_timeout": round(0.4 * options.close_budget_s, 3),
        "x_transaction_log_flush_interval": 1.0,
        "console": "off",
        "silent": True,
        "x_disable_viewer": True,
    }
    if any(redact(argument) != argument for argument in argv):
        wanted["x_disable_meta"] = wanted["x_disable_machine_info"] = True
    ours = {name: value for name, value in wanted.items() if name in known}
    return ours | dict(options.settings)


def sync_command(directories: Iterable[str | os.PathLike[str]], mode: str | None) -> str:
    """Return the command that sends a run's local data, to be pasted into a shell.

    Args:
        directories: W&B's, oldest first: ``wandb sync`` sends them in the order of their start.
        mode: ``offline``, or any other for a run that was online.
    """
    flags = [] if mode == "offline" else ["--no-skip-online"]
    return shlex.join(["wandb", "sync", *flags, *map(os.path.abspath, directories)])
