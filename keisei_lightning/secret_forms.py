"""The forms one secret value takes in files: quoted for a URL, escaped in JSON, YAML, a shell."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

__all__ = ["MIN_LENGTH", "forms", "is_telling", "secrets_within"]

MIN_LENGTH = 8
"""Shorter values are not searched for in texts: they would hit innocent words."""

_COMMON_WORDS = (
    "password changeme anonymous disabled enabled postgres localhost username administrator "
    "undefined required optional testtest notebook"
)
_COMMON = frozenset(_COMMON_WORDS.split())


def forms(secret: str) -> set[str]:
    """Return the secret as it stands in plain text, URLs, JSON, YAML, Python and shell lines."""
    escaped = json.dumps(secret)[1:-1]
    written = {
        secret,
        escaped,
        _yaml_form(escaped),
        json.dumps(secret, ensure_ascii=False)[1:-1],
        escaped.replace("/", "\\/"),
        repr(secret)[1:-1],
        secret.replace("'", "''"),
        secret.replace("'", "\\'"),
        shlex.quote(secret).strip("'"),
        *_url_forms(secret),
    }
    return {form for form in written if len(form) >= MIN_LENGTH}


def is_telling(value: str) -> bool:
    """Whether a value is long and rare enough to be hidden wherever it appears."""
    text = value.strip()
    if len(text) < MIN_LENGTH or len(set(text)) < 3 or text.lower() in _COMMON:
        return False
    return not _is_path(text)


def secrets_within(value: str, is_secret_key: Callable[[str], bool]) -> set[str]:
    """Return what of a variable's value is secret: its secret fields if it is JSON, else each line.

    Lines count because output is redacted line by line, and a private key has many.
    """
    try:
        data = json.loads(value)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict):
        found = set(_secret_leaves(data, is_secret_key, False))
        return found | {line for leaf in found for line in _lines(leaf)}
    return {value, value.strip(), *_lines(value)}


def _lines(value: str) -> list[str]:
    lines = [line.strip() for line in value.splitlines()]
    return [line for line in lines if len(line) >= 2 * MIN_LENGTH and not line.startswith("-----")]


def _secret_leaves(data: Any, is_secret: Callable[[str], bool], inside: bool) -> Iterator[str]:
    if isinstance(data, dict):
        for key, item in data.items():
            yield from _secret_leaves(item, is_secret, inside or is_secret(str(key)))
    elif isinstance(data, list):
        for item in data:
            yield from _secret_leaves(item, is_secret, inside)
    elif inside and isinstance(data, str):
        yield data


def _url_forms(secret: str) -> set[str]:
    try:
        return {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    except UnicodeEncodeError:
        return set()


def _yaml_form(escaped: str) -> str:
    upper = re.sub(r"\\u[0-9a-f]{4}", lambda match: "\\u" + match[0][2:].upper(), escaped)
    return upper.replace("\\u00", "\\x")


def _is_path(text: str) -> bool:
    if text.startswith(("~/", "./", "../")):
        return True
    # A base64 secret may begin with a slash, but hardly with a directory that is there.
    first = text.split("/", 2)[1:2]
    return text.startswith("/") and bool(first and first[0]) and os.path.isdir(f"/{first[0]}")
