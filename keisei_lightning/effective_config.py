"""The effective config: what really ran, resolved, redacted, on disk, and as one hash.

Nothing here raises because of what a config holds: a value that cannot be resolved stands as its
source text (``"${db.host}"``), a missing one as ``"???"``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import pickle as pickling
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from keisei_lightning.config_nodes import branches, environment_secrets, secret_values
from keisei_lightning.plain_values import Plain
from keisei_lightning.record import to_json
from keisei_lightning.redaction import Redactor

__all__ = [
    "FILE_STEM",
    "as_json",
    "as_yaml",
    "config_hash",
    "diff",
    "effective",
    "save",
    "secret_values",
]

FILE_STEM = "effective_config"

_VOLATILE_NODES = frozenset({"session", "hydra"})
_VOLATILE_KEYS = frozenset(
    {
        *("seed", "base_seed", "random_seed", "seed_everything", "id", "run_id", "run_name"),
        *("session_id", "experiment_id", "output_dir", "save_dir", "log_dir", "run_dir", "dirpath"),
        *("default_root_dir", "root_dir", "work_dir", "time_stamp", "timestamp", "version"),
        *("ckpt_path", "resume", "resume_from"),
    }
)


def effective(cfg: Any, redactor: Redactor) -> dict[str, Any]:
    """Return a config as plain, resolved, redacted values.

    Args:
        cfg: A DictConfig, a mapping, a dataclass, a Namespace or anything else; what is no mapping
            stands under ``config``.
        redactor: The session's; values that come from secret environment variables are hidden
            whether it knows them or not.
    """
    try:
        secrets = sorted(environment_secrets(cfg), key=len, reverse=True)
        plain = Plain(lambda value: branches(value, secrets)).of(cfg)
        if plain is None:
            return {}
        tree = redactor.tree(plain if isinstance(plain, dict) else {"config": plain})
        return dict(tree)
    except Exception as error:  # a config must never stop a run
        return {"config": f"<unreadable: {type(error).__name__}>"}


def config_hash(tree: Mapping[str, Any], *, own: Iterable[str] = ()) -> str:
    """Return 12 hexadecimal digits that say "the same config, seed aside".

    Left out are the top nodes ``session`` and ``hydra`` and, at any depth, keys that change from
    run to run: seeds (``seed``, ``base_seed``, …), run ids and names (``id``, ``run_name``,
    ``version``, …), output paths (``output_dir``, ``save_dir``, ``dirpath``, ``default_root_dir``,
    …) and where a run resumes from (``ckpt_path``, …). The order of keys does not count.

    Args:
        tree: What :func:`effective` gave.
        own: Texts that belong to this run (its directory, id, name), wherever they appear.
    """
    lasting = {key: value for key, value in tree.items() if key not in _VOLATILE_NODES}
    marks = sorted({text for text in own if len(text) > 3}, key=len, reverse=True)
    text = json.dumps(_lasting(lasting, marks), sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12]


def as_yaml(tree: Mapping[str, Any]) -> str:
    """Return a plain tree as YAML, keys in their order, no aliases, nothing folded."""
    text = yaml.dump(
        dict(tree),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=1 << 30,
    )
    return str(text)


def as_json(tree: Mapping[str, Any]) -> str:
    """Return a plain tree as JSON in UTF-8; NaN and infinities are strings, as in the record."""
    return json.dumps(to_json(tree), ensure_ascii=False, indent=2) + "\n"


def save(
    run_path: Path,
    tree: Mapping[str, Any],
    *,
    pickle: bool = False,
    write: Callable[[Path, bytes], None],
) -> list[str]:
    """Write ``effective_config.yaml``, ``.json`` and, if wanted, ``.pkl``; never raises.

    Args:
        run_path: The run directory.
        tree: What :func:`effective` gave.
        pickle: Write the pickle of the same plain tree as well.
        write: Writes bytes to a path, atomically and readable by the owner only.

    Returns:
        What could not be written and why, one sentence a file. A file that has this content
        already is not touched.
    """
    forms: dict[str, Callable[[], bytes]] = {
        "yaml": lambda: as_yaml(tree).encode(),
        "json": lambda: as_json(tree).encode(),
    }
    if pickle:
        forms["pkl"] = lambda: pickling.dumps(dict(tree), protocol=4)
    warnings = []
    for suffix, form in forms.items():
        path = run_path / f"{FILE_STEM}.{suffix}"
        try:
            _write_if_other(path, form(), write)
        except Exception as error:
            warnings.append(f"the effective config could not be written to {path}: {error}")
    return warnings


def diff(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    before_name: str = "before",
    after_name: str = "after",
) -> str:
    """Return what changed between two trees as a unified diff of their YAML; ``""`` if nothing."""
    old, new = (as_yaml(tree).splitlines(keepends=True) for tree in (before, after))
    return "".join(difflib.unified_diff(old, new, before_name, after_name))


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_str(dumper: Any, text: str) -> Any:
    # OmegaConf reads an unquoted 1e3 as a number, YAML 1.1 writes it as a string.
    style = "'" if re.fullmatch(r"[-+]?[\d_.]+[eE][-+]?\d+", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_str)


def _write_if_other(path: Path, data: bytes, write: Callable[[Path, bytes], None]) -> None:
    try:
        same = path.read_bytes() == data
    except OSError:
        same = False
    if not same:
        write(path, data)


def _lasting(value: Any, own: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            str(key): _lasting(item, own)
            for key, item in value.items()
            if str(key) not in _VOLATILE_KEYS
        }
    if isinstance(value, list | tuple):
        return [_lasting(item, own) for item in value]
    if isinstance(value, str):
        for text in own:
            value = value.replace(text, "<own>")
    return value
