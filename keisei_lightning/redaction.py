"""What is secret and how it is hidden: by key, by value, by the shape of a token.

The rules are pure; only :func:`make_redactor` looks at the environment. Which keys count is said
in :mod:`keisei_lightning.secret_names`, in which spellings a value is found in
:mod:`keisei_lightning.secret_forms`. Hiding twice gives the same as hiding once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keisei_lightning.errors import SessionConfigError
from keisei_lightning.secret_forms import MIN_LENGTH, forms, is_telling, secrets_within
from keisei_lightning.secret_names import is_secret_env, is_secret_key, words

__all__ = ["REDACTED", "Redactor", "is_secret_env", "is_secret_key", "make_redactor"]

REDACTED = "<redacted>"
_MAX_DEPTH = 100

# Shapes that nothing but a secret has. A 40-hex W&B key is not among them: so is a git commit.
_SHAPES = re.compile(
    r"""
    (?<![A-Za-z0-9])(?:
        wandb_v\d+_\w{20,} | gh[pousr]_\w{20,} | github_pat_\w{22,} | gl[a-z]{1,6}-[\w-]{20,}
      | hf_[A-Za-z0-9]{20,} | npm_[A-Za-z0-9]{30,} | pypi-AgE[\w-]{30,} | dop_v1_[0-9a-f]{32,}
      | sk-[0-9a-f]{32,} | sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,} | [sr]k_(?:live|test)_\w{10,}
      | (?:AKIA|ASIA)[0-9A-Z]{16} | AIza[\w-]{30,} | xox[a-z]-[\w-]{10,} | xapp-[\w-]{10,}
      | SG\.[\w-]{16,}\.[\w-]{16,} | eyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)? | \d{8,10}:AA[\w-]{30,}
    )
  | -----BEGIN\ [A-Z0-9 ]*PRIVATE\ KEY[A-Z ]*-----(?:.*?-----END\ [A-Z0-9 ]*-----|.*)
    """,
    re.VERBOSE | re.DOTALL,
)
_SHAPE_HINT = re.compile(
    r"wandb_v|gh[pousr]_|github_pat|gl[a-z]{1,6}-|hf_|npm_|pypi-|dop_|[sr]k[-_]|A[KS]IA|AIza"
    r"|xox|xapp|SG\.|eyJ|:AA|-----BEGIN"
)
_BEARER = re.compile(r"(?i)\b((?:bearer|basic)\s+)(?=[^\s\"']*[\d=])[\w.~+/-]{8,}=*")
_WEBHOOK = re.compile(
    r"(https://(?:hooks\.slack\.com/(?:services|workflows|triggers)/|[\w.-]+\.webhook\.office\.com/"
    r"|(?:\w+\.)?discord(?:app)?\.com/api/webhooks/))[^\s\"'<>]+"
)
# user:password@ (the password may hold / and @) or token@; the user of an ssh address is public.
_USERINFO = re.compile(
    r"\b([A-Za-z][A-Za-z0-9+.-]*://)"
    r"(?:[^\s/@:\"'<>]*:(?!\d+(?:[/?#]|$))[^\s\"'<>?#]+|(?!git@)[^\s/@:\"'<>?#]+)@"
)
_PAIR_HINT = re.compile(
    r"(?i)pass|pwd|secret|token|key|cred|auth|bearer|cookie|netrc|dsn|webhook|string"
)
_PAIR = re.compile(
    r"(?P<key>(?<![\w.-])-{0,2}[A-Za-z_][\w.-]*)(?P<sep>[\"']?\s*(?::=|[=:])(?!=)\s*|(?<!=)\s+(?![-=:]))"
    r"(?P<value>\"(?:\\.|[^\"\\])*\"?|'(?:\\.|''|[^'\\])*'?"
    r"|\$\{[^{}\s]*\}|[^\s,;&\"'}\])]+)"
)
_HARMLESS = re.compile(r"(?i)|true|false|none|null|nil|\?\?\?|\*+|-?[\d.]{1,3}|\$\{[\w.:]+\}|\$\w+")
_CODE = re.compile(r"[A-Za-z_][\w.]*[(\[]")
_PATH = re.compile(r"(?:~|\.{1,2})?/[\w.\-/ ]*")


@dataclass(frozen=True, slots=True)
class Redactor:
    """Hides secrets in whatever is about to be written; made by :func:`make_redactor`."""

    keys: tuple[re.Pattern[str], ...] = ()
    env_names: frozenset[str] = frozenset()
    values: re.Pattern[str] | None = None

    def hides(self, key: str) -> bool:
        """Whether what stands under this key (or dotted path) is secret."""
        return is_secret_key(key) or any(pattern.search(key) for pattern in self.keys)

    def text(self, text: str) -> str:
        """Return a text (a line of a log, a diff, a message) without the secrets in it."""
        if self.values is not None:
            text = self.values.sub(REDACTED, text)
        if _SHAPE_HINT.search(text):
            text = _SHAPES.sub(REDACTED, text)
        if "://" in text:
            text = _WEBHOOK.sub(rf"\1{REDACTED}", text)
            text = _USERINFO.sub(rf"\1{REDACTED}@", text)
        if self.keys or _PAIR_HINT.search(text):
            text = _BEARER.sub(rf"\1{REDACTED}", text)
            text = self._pairs(text)
        return text

    def tree(self, value: Any) -> Any:
        """Return mappings, lists and tuples with the secrets hidden; other leaves stay as is."""
        return self._tree(value, "", False, 0)

    def overrides(self, overrides: Iterable[str]) -> list[str]:
        """Return Hydra overrides (``+db.password='x'``) with secret values hidden."""
        return [self._override(str(override)) for override in overrides]

    def argv(self, argv: Sequence[str]) -> list[str]:
        """Return a command line with ``key=secret`` and ``--key secret`` hidden."""
        result: list[str] = []
        option = ""
        for word in map(str, argv):
            if option and self.hides(option) and not word.startswith("--"):
                result.append(word if _harmless(word) else REDACTED)
            else:
                result.append(self._override(word))
            option = word.lstrip("-") if word.startswith("-") and "=" not in word else ""
        return result

    def env(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return environment variables with the values of the secret ones hidden."""
        return {
            name: REDACTED if self._hides_env(name, value) else self.text(value)
            for name, value in environ.items()
        }

    def _hides_env(self, name: str, value: str) -> bool:
        if name.upper() in self.env_names:
            return True
        known = is_secret_env(name) or self.hides(name)
        return known and not _harmless(value) and not _PATH.fullmatch(value)

    def _override(self, override: str) -> str:
        key, equals, value = override.partition("=")
        name = key.lstrip("+~-")
        secret = self.hides(name) or any(self.hides(part) for part in name.split("."))
        if equals and secret and " " not in name:
            return override if _harmless(value) else f"{key}={REDACTED}"
        return self.text(override)

    def _pairs(self, text: str) -> str:
        parts: list[str] = []
        done = position = 0
        while match := _PAIR.search(text, position):
            if self._is_secret_pair(match):
                quote = match["value"][0] if match["value"][0] in "\"'" else ""
                parts += [text[done : match.start("value")], quote, REDACTED, quote]
                done = position = match.end()
            else:
                position = match.start("value")
        return "".join([*parts, text[done:]]) if parts else text

    def _is_secret_pair(self, match: re.Match[str]) -> bool:
        key, separator, value = match["key"], match["sep"], match["value"]
        bare = value.strip("\"'")
        if separator.isspace() and not key.startswith("--"):
            return False
        if _harmless(bare) or bare == REDACTED or not self.hides(key):
            return False
        if bare != value:  # quoted
            return True
        if _last_part(bare) == _last_part(key) or _CODE.match(bare):  # f(token=self.token)
            return False
        # "unexpected token: identifier" is prose, token=word code; a token has a digit in it.
        prose = not separator.isspace() and is_secret_key(key) and len(words(key)) == 1
        return not prose or key.lower().startswith("pass") or _has_digit(bare)

    def _tree(self, value: Any, path: str, secret: bool, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            return "<too deep>"
        if isinstance(value, Mapping):
            return {
                self.text(key) if isinstance(key, str) else key: self._item(
                    key, item, path, secret, depth
                )
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            items = [self._tree(item, path, secret, depth + 1) for item in value]
            return items if isinstance(value, list) else tuple(items)
        return self._leaf(value, secret)

    def _item(self, key: Any, item: Any, path: str, secret: bool, depth: int) -> Any:
        name = str(key)
        path = f"{path}.{name}" if path else name
        secret = secret or self.hides(name) or any(p.search(path) for p in self.keys)
        return self._tree(item, path, secret, depth + 1)

    def _leaf(self, value: Any, secret: bool) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if secret:
            return value if _harmless(str(value)) else REDACTED
        return self.text(value) if isinstance(value, str) else value


def make_redactor(
    *,
    keys: Iterable[str] = (),
    env_names: Iterable[str] = (),
    environ: Mapping[str, str] = os.environ,
    secrets: Iterable[str] = (),
) -> Redactor:
    """Return the redactor of a session.

    Args:
        keys: Regular expressions; a key or dotted path that one of them finds is secret.
        env_names: Environment variables to hide although their names do not tell.
        environ: Where the values of secret-looking variables come from. A value shorter than
            ``MIN_LENGTH`` (8) characters, a common word or a path is not searched for in texts:
            hiding every "root" would wreck the logs.
        secrets: More values to hide, of the same minimum length.

    Raises:
        SessionConfigError: One of ``keys`` is no regular expression.
    """
    named = frozenset(name.upper() for name in env_names)
    values = {str(secret) for secret in secrets}
    for name, value in environ.items():
        if name.upper() in named or is_secret_env(name):
            values |= secrets_within(value, is_secret_key)
        elif "://" in value and (password := _password(value)):
            values.add(password)
    found = {form for value in values if is_telling(value) for form in forms(value)}
    found = {form for form in found if form not in REDACTED}
    return Redactor(
        keys=tuple(_compiled(key) for key in keys), env_names=named, values=_alternation(found)
    )


def _compiled(key: str) -> re.Pattern[str]:
    try:
        return re.compile(key, re.IGNORECASE)
    except (re.error, TypeError) as error:
        raise SessionConfigError(
            f"session.redaction.keys: {key!r} is no regular expression ({error}); "
            "write one such as 'license_.*'"
        ) from error


def _alternation(values: Iterable[str]) -> re.Pattern[str] | None:
    ordered = sorted(values, key=lambda value: (-len(value), value))
    parts = [
        rf"(?<!\d){value}(?!\d)" if value.isdecimal() else re.escape(value) for value in ordered
    ]
    return re.compile("|".join(parts)) if parts else None


def _password(url: str) -> str:
    match = re.search(r"://[^\s/@:]*:([^\s/@]+)@", url)
    return match[1] if match and len(match[1]) >= MIN_LENGTH else ""


def _harmless(value: str) -> bool:
    return _HARMLESS.fullmatch(value.strip("\"'")) is not None or value == REDACTED


def _has_digit(value: str) -> bool:
    return any(character.isdigit() for character in value)


def _last_part(name: str) -> str:
    return re.split(r"[.-]", name)[-1].lower()
