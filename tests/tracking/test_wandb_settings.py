"""What W&B is asked for: mode, key, settings, the command that sends a run later."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
import wandb
from hypothesis import given
from hypothesis import strategies as st

from keisei_lightning.tracking.wandb_settings import (
    WandbOptions,
    choose_mode,
    has_key,
    run_settings,
    sync_command,
)


@pytest.mark.parametrize(
    ("configured", "environ", "key", "mode", "said"),
    [
        (None, None, True, "online", False),
        (None, None, False, "offline", True),
        (None, "offline", True, "offline", False),
        (None, "dryrun", False, "offline", False),
        (None, "disabled", False, "disabled", False),
        ("online", "offline", True, "online", False),
        ("online", None, False, "offline", True),
        ("offline", "online", True, "offline", False),
        ("shared", None, True, "shared", False),
        ("disabled", None, True, "disabled", False),
    ],
)
def test_the_mode_is_config_then_environment_then_what_a_key_allows(
    configured: str | None, environ: str | None, key: bool, mode: str, said: bool
) -> None:
    """Nothing goes online without a key, and that is said; a choice of offline is not."""
    chosen, why = choose_mode(configured, environ, key=key)
    assert (chosen, bool(why)) == (mode, said)


def test_a_key_is_found_in_the_environment_and_in_the_netrc_file(tmp_path: Path) -> None:
    """Only for the server that is used."""
    environ = {"HOME": str(tmp_path)}
    assert not has_key(environ, "https://api.example.org")
    assert has_key(environ | {"WANDB_API_KEY": "x"}, "https://api.example.org")
    (tmp_path / ".netrc").write_text("machine api.example.org login user password x\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert has_key(environ, "https://api.example.org")
    assert not has_key(environ, "https://other.example.org")
    (tmp_path / ".netrc").write_text("nonsense is in here")
    assert not has_key(environ, "https://api.example.org")


def test_settings_are_bounded_and_the_users_own_win(tmp_path: Path) -> None:
    """Every field we set is one of this wandb's, and a user's value replaces ours."""
    options = WandbOptions("i", "n", tmp_path, "p", settings={"console": "wrap", "quiet": True})
    fields = run_settings(options, wandb.Settings.model_fields)
    assert fields["console"] == "wrap"
    assert fields["init_timeout"] == 15.0
    assert fields["finish_timeout"] == 12.0
    assert fields["x_transaction_log_flush_interval"] == 1.0
    wandb.Settings(**fields)
    assert set(run_settings(options, {"init_timeout"})) == {"init_timeout", "console", "quiet"}


def test_metadata_is_left_out_when_the_command_line_has_a_secret(tmp_path: Path) -> None:
    """W&B's metadata holds sys.argv, which we cannot redact."""
    options = WandbOptions("i", "n", tmp_path, "p")
    hide = {"redact": lambda text: text.replace("hunter2", "***")}
    known = wandb.Settings.model_fields
    assert run_settings(options, known, argv=["a.py", "key=hunter2"], **hide)["x_disable_meta"]
    assert "x_disable_meta" not in run_settings(options, known, argv=["a.py", "key=1"], **hide)


@given(st.text(alphabet=st.characters(exclude_characters="\0/", exclude_categories=["Cs"])))
def test_the_sync_command_survives_a_shell(name: str) -> None:
    """Any directory name comes through; a run that was online needs a flag."""
    command = sync_command([f"/runs/{name}", "/b"], "online")
    assert shlex.split(command) == [
        "wandb",
        "sync",
        "--no-skip-online",
        os.path.abspath(f"/runs/{name}"),
        "/b",
    ]
    assert "--no-skip-online" not in sync_command(["/runs/x"], "offline")
