"""Any Python object as plain values: what a config may hold, in words that stay the same.

No memory address, no exception, no endless loop: the same object gives the same text in every
process, so that configs can be compared and hashed.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import decimal
import fractions
import functools
import re
import types
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

__all__ = ["MAX_DEPTH", "MAX_VALUES", "Plain", "clean_text"]

MAX_DEPTH = 50
MAX_VALUES = 200_000

_AS_TEXT = (
    PurePath,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    uuid.UUID,
    decimal.Decimal,
    fractions.Fraction,
    complex,
    range,
)
_ARRAYS = frozenset({"torch", "numpy", "jax", "jaxlib", "tensorflow", "cupy", "pandas", "polars"})
_LISTS = (list, tuple, deque)


class Plain:
    """Turns one tree of objects into dicts, lists, strings and numbers; used once.

    Args:
        branches: Reads containers that are not Python's own (OmegaConf's): returns ``None`` for
            what it does not know, else the pairs of keys and values of a mapping or the items of a
            list.
    """

    def __init__(
        self, branches: Callable[[Any], dict[Any, Any] | list[Any] | None] = lambda value: None
    ) -> None:
        self._branches = branches
        self._left = MAX_VALUES
        self._open: set[int] = set()

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return the plain form of a value; never raises."""
        self._left -= 1
        if depth > MAX_DEPTH:
            return "<too deep>"
        if self._left < 0:
            return "<too many values>"
        if value is None or value is True or value is False:
            return value
        try:
            return self._scalar(value, depth)
        except Exception:
            return f"<{_kind(value)} object>"

    def _scalar(self, value: Any, depth: int) -> Any:
        if isinstance(value, Enum):
            return value.name
        if isinstance(value, str):
            return clean_text(value)
        if isinstance(value, int | float):  # a subclass of them becomes plain
            return int(value) if isinstance(value, int) else float(value)
        branch = self._container(value)
        if branch is None:
            leaf = _leaf(value)
            return clean_text(leaf) if isinstance(leaf, str) else leaf
        if id(value) in self._open:
            return "<cycle>"
        self._open.add(id(value))
        try:
            return self._branch(branch, depth)
        finally:
            self._open.discard(id(value))

    def _container(self, value: Any) -> dict[Any, Any] | list[Any] | None:
        known = self._branches(value)
        if known is not None:
            return known
        if isinstance(value, set | frozenset):
            return sorted(value, key=lambda item: (_kind(item), str(self.of(item, MAX_DEPTH - 3))))
        if isinstance(value, Mapping):
            return {key: _read(value.__getitem__, key) for key in value}
        return _fields(value)

    def _branch(self, branch: dict[Any, Any] | list[Any], depth: int) -> Any:
        if isinstance(branch, list):
            return [self.of(item, depth + 1) for item in branch]
        plain: dict[str, Any] = {}
        for key, item in branch.items():
            name = self._key(key)
            if name in plain:  # 1 and "1" are two keys
                name = f"{name} ({type(key).__name__})"
            plain[name] = self.of(item, depth + 1)
        return plain

    def _key(self, key: Any) -> str:
        if type(key) is str:
            return clean_text(key)
        plain = self.of(key, MAX_DEPTH - 3)
        return plain if isinstance(plain, str) else str(plain)


def clean_text(text: str) -> str:
    """Return a text that can be written as UTF-8."""
    text = str.__str__(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _fields(value: Any) -> dict[Any, Any] | list[Any] | None:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]
    if isinstance(value, _LISTS):
        return list(value)
    if isinstance(value, type):
        return None
    if isinstance(value, argparse.Namespace | types.SimpleNamespace):
        return dict(vars(value))
    names: Iterable[str] = ()
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    elif isinstance(attributes := getattr(type(value), "__attrs_attrs__", None), tuple):
        names = [attribute.name for attribute in attributes]
    elif isinstance(fields := getattr(type(value), "model_fields", None), dict):
        names = list(fields)
    return {name: _read(lambda name: getattr(value, name), name) for name in names} or None


def _read(get: Callable[[Any], Any], key: Any) -> Any:
    try:
        return get(key)
    except Exception as error:
        return f"<unreadable: {type(error).__name__}>"


def _leaf(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(value))
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, re.Pattern):
        return str(value.pattern)
    if isinstance(value, type):
        return f"<class {_qualified(value)}>"
    if isinstance(value, types.ModuleType):
        return f"<module {value.__name__}>"
    if isinstance(value, functools.partial):
        return f"<partial {_leaf(value.func)[1:-1]}>"
    if isinstance(getattr(value, "__qualname__", None), str):
        return f"<function {_qualified(value)}>"
    if type(value).__module__.split(".")[0] in _ARRAYS:
        return _array(value)
    return f"<{_kind(value)} object>"


def _array(value: Any) -> Any:
    dtype = getattr(value, "dtype", None)
    if dtype is None:  # torch.dtype, torch.device, numpy.dtype
        text = str(value)
        return text if " at 0x" not in text else f"<{_kind(value)} object>"
    shape = tuple(value.shape)
    if not shape and isinstance(item := value.item(), int | float | str):
        return item
    return f"<{type(value).__name__} shape={shape} dtype={dtype}>"


def _bytes(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"<{len(data)} bytes>"
    return text if text.isprintable() else f"<{len(data)} bytes>"


def _qualified(value: Any) -> str:
    module = getattr(value, "__module__", None)
    return f"{module}.{value.__qualname__}" if isinstance(module, str) else str(value.__qualname__)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
