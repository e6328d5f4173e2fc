"""Which names stand for a secret: pure rules on the words of a key or an environment variable.

A name is read as words (``apiKey``, ``API_KEY`` and ``api-key-2`` are all *api key*) and its last
words decide, so ``max_tokens``, ``tokenizer``, ``key_dim``, ``n_keys`` and ``password_length``
are not secret, and neither are the tokens of a language model (``pad_token``).
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["is_secret_env", "is_secret_key", "words"]

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ALONE = _set(
    "password passwd passphrase passcode pwd secret secrets credential credentials apikey "
    "apitoken accesskey secretkey privatekey authtoken accesstoken bearer authorization cookie "
    "cookies netrc pgpassword dsn webhook"
)
_BEFORE_KEY = _set(
    "api access secret private auth encryption signing account storage ssh master subscription "
    "license service shared deploy host wandb comet neptune openai"
)
_BEFORE_PASS = _set("db user smtp mail ftp mysql pg redis http admin root proxy")
_BEFORE_TOKENS = _set("auth access api bearer refresh secret")
_NO_SECRET_TOKEN = _set(
    "pad eos bos unk mask sep cls special start end stop image audio video per num n max min first "
    "last next new class eot sot begin prompt text word sub bpe mem register prefix suffix "
    "dist distillation query target source decoder encoder"
)
_PAIRS = frozenset({("connection", "string"), ("webhook", "url")})


def words(name: str) -> list[str]:
    """Return the words of a name in lower case, numbers left out."""
    return [word.lower() for word in _WORD.findall(name)]


@lru_cache(maxsize=4096)
def is_secret_key(key: str) -> bool:
    """Whether a key of a config, a header or a command line option names a secret."""
    before, last = ["", "", *words(key)][-2:]
    if last == "token":
        return before not in _NO_SECRET_TOKEN
    if last == "tokens":
        return before in _BEFORE_TOKENS
    if last in ("key", "keys"):
        return before in _BEFORE_KEY
    if last == "pass":
        return before in _BEFORE_PASS
    return last in _ALONE or (before, last) in _PAIRS


def is_secret_env(name: str) -> bool:
    """Whether an environment variable holds a secret: here any ``…_KEY`` and ``…_PASS`` counts."""
    before, last = ["", "", *words(name)][-2:]
    return is_secret_key(name) or (bool(before) and last in ("key", "pass"))
