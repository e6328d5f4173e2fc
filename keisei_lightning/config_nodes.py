"""The nodes of an OmegaConf config, each resolved on its own, and the secrets among them.

A resolver of the user may raise, and a node may refer to nothing: then its source text stands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from keisei_lightning.plain_values import MAX_DEPTH
from keisei_lightning.redaction import REDACTED, is_secret_env, is_secret_key
from keisei_lightning.secret_forms import MIN_LENGTH

__all__ = ["branches", "environment_secrets", "secret_values"]

_ENV = re.compile(r"\$\{\s*oc\.env\s*:\s*(?P<name>[^,{}\s]+)")
_ENV_DEFAULT = re.compile(_ENV.pattern + r"\s*,(?P<default>[^{}]*)\}")
_ONE_INTERPOLATION = re.compile(r"\$\{.*\}", re.DOTALL)
_NO_VALUES = frozenset({"", "None", "???"})
_LOOKS_RANDOM = re.compile(r"(?=.*\d)\S{8,}|\S{16,}")


def secret_values(cfg: Any) -> frozenset[str]:
    """Return the secret values in a config, by origin and by key; for ``make_redactor(secrets=…)``.

    By origin: what ``${oc.env:NAME}`` with a secret-looking NAME gives (its default too), alone or
    within a longer string. By key: what stands under a secret key, where it looks random (8
    characters with a digit, or 16). Never raises.
    """
    found: set[str] = set()
    try:
        for key, source, value in _leaves(cfg, 0, set()):
            found.update(_from_environment(source, value))
            if is_secret_key(key) and _LOOKS_RANDOM.fullmatch(text := str(value())):
                found.add(text)
    except Exception:
        return frozenset(found)
    return frozenset(found) - _NO_VALUES


def branches(value: Any, secrets: Iterable[str] = ()) -> dict[Any, Any] | list[Any] | None:
    """Return what an OmegaConf container holds, each node resolved on its own."""
    source = _source(value)
    if isinstance(source, dict):
        return {key: _resolved(value, key, item, secrets) for key, item in source.items()}
    if isinstance(source, list):
        return [_resolved(value, index, item, secrets) for index, item in enumerate(source)]
    return None


def _source(value: Any) -> Any:
    from omegaconf import DictConfig, ListConfig, OmegaConf

    if not isinstance(value, DictConfig | ListConfig):
        return None
    source = OmegaConf.to_container(value, resolve=False)
    return source if source is not None else {}


def _resolved(container: Any, key: Any, source: Any, secrets: Iterable[str]) -> Any:
    interpolated = isinstance(source, str) and "${" in source
    if not interpolated and not isinstance(source, dict | list):
        return source
    try:
        value = container[key]
    except Exception:  # a resolver may raise anything
        return source
    if interpolated and isinstance(value, str | int | float) and not isinstance(value, bool):
        return _without(value, source, secrets)
    return value


def _without(value: str | int | float, source: str, secrets: Iterable[str]) -> str | int | float:
    # Short secrets are hidden where they come from the environment, long ones wherever they went.
    shortest = 4 if "oc.env" in source else MIN_LENGTH
    if isinstance(value, str):
        text = value
        for secret in secrets:
            if text == secret or len(secret) >= shortest:
                text = text.replace(secret, REDACTED)
        return text
    return REDACTED if len(str(value)) >= shortest and str(value) in secrets else value


def environment_secrets(cfg: Any) -> frozenset[str]:
    """Return what ``${oc.env:NAME}`` with a secret-looking NAME gives in a config; never raises."""
    try:
        values = [_from_environment(source, value) for _, source, value in _leaves(cfg, 0, set())]
    except Exception:
        return frozenset()
    return frozenset().union(*values) - _NO_VALUES


def _leaves(
    container: Any, depth: int, seen: set[int]
) -> Iterator[tuple[str, Any, Callable[[], Any]]]:
    """Yield key, unresolved source and a way to the value of every leaf, each container once."""
    if id(container) in seen:
        return
    seen.add(id(container))
    source = _source(container)
    pairs = source if source is not None else container
    if depth > MAX_DEPTH or not isinstance(pairs, Mapping | list):
        return
    for key, item in pairs.items() if isinstance(pairs, Mapping) else enumerate(pairs):
        if isinstance(item, str) or not isinstance(item, Mapping | Sequence):
            yield str(key), item, partial(_value, container, key)
        else:
            yield from _leaves(_value(container, key), depth + 1, seen)


def _value(container: Any, key: Any) -> Any:
    try:
        return container[key]
    except Exception:  # a resolver may raise anything
        return None


def _from_environment(source: Any, value: Callable[[], Any]) -> set[str]:
    if not isinstance(source, str) or "oc.env" not in source:
        return set()
    names = [match["name"].strip("\"'") for match in _ENV.finditer(source)]
    if not any(map(is_secret_env, names)):
        return set()
    found = {os.environ.get(name, "") for name in names if is_secret_env(name)}
    for match in _ENV_DEFAULT.finditer(source):
        if is_secret_env(match["name"].strip("\"'")):
            found.add(match["default"].strip().strip("\"'"))
    if _ONE_INTERPOLATION.fullmatch(source):
        found.add(str(value()))
    return found
