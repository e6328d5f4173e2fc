"""Redaction: no secret survives, and nothing else is harmed."""

from __future__ import annotations

import json
import shlex
from urllib.parse import quote, quote_plus

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from keisei_lightning.errors import SessionConfigError
from keisei_lightning.redaction import REDACTED, is_secret_env, is_secret_key, make_redactor

CANARY = "c4n4ry/p@ss'w\"örd+\\$%1"
PLAIN = make_redactor(environ={})


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "db.password",
        "dbPassword",
        "api_key",
        "apiKey",
        "APIKey",
        "X-Api-Key",
        "WANDB_API_KEY",
        "api_key_2",
        "hf_token",
        "token",
        "access_tokens",
        "AWS_SECRET_ACCESS_KEY",
        "client_secret",
        "secrets",
        "private-key",
        "Authorization",
        "smtp_pass",
        "connection_string",
        "azure_storage_key",
        "credentials",
        "slack_webhook_url",
    ],
)
def test_secret_keys(key: str) -> None:
    """A key whose last words name a secret is secret, in whatever style it is written."""
    assert is_secret_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "max_tokens",
        "tokenizer",
        "tokens_per_second",
        "key_dim",
        "n_keys",
        "key",
        "num_key_value_heads",
        "password_length",
        "pad_token",
        "eos_token_id",
        "cls_token",
        "mask_token",
        "sort_key",
        "image_key",
        "forward_pass",
        "n_passes",
        "secretary",
        "monkey",
        "commit",
        "sha",
        "hash",
        "",
        "ключ",
    ],
)
def test_innocent_keys(key: str) -> None:
    """Hyper-parameters that merely sound secret are left alone."""
    assert not is_secret_key(key)


def test_environment_names_are_read_more_strictly() -> None:
    """Any …_KEY variable is secret, but not KEY, a tokenizer switch or a path variable."""
    assert is_secret_env("OPENROUTER_KEY")
    assert is_secret_env("MY_PASS")
    assert not is_secret_env("KEY")
    assert not is_secret_env("TOKENIZERS_PARALLELISM")
    assert not is_secret_env("PATH")


def test_tree_hides_by_key_and_keeps_the_rest() -> None:
    """Only what stands under a secret key is hidden; flags, None and small numbers stay."""
    tree = {
        "db": {"password": "hunter2", "user": "alice", "port": 5432},
        "api_key": 12345678,
        "use_auth_token": True,
        "token": None,
        "secrets": {"a": ["x", ("y",)], "n": 3},
        "max_tokens": 4096,
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "password": "${oc.env:DB_PASSWORD}",
        3: {"lr": 0.1},
        "nan": float("inf"),
    }
    assert PLAIN.tree(tree) == {
        "db": {"password": REDACTED, "user": "alice", "port": 5432},
        "api_key": REDACTED,
        "use_auth_token": True,
        "token": None,
        "secrets": {"a": [REDACTED, (REDACTED,)], "n": 3},
        "max_tokens": 4096,
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "password": "${oc.env:DB_PASSWORD}",
        3: {"lr": 0.1},
        "nan": float("inf"),
    }


def test_tree_of_any_depth_returns() -> None:
    """A tree that contains itself is cut, not followed for ever."""
    loop: dict[str, object] = {"lr": 1}
    loop["self"] = loop
    assert "<too deep>" in json.dumps(PLAIN.tree(loop))


@pytest.mark.parametrize(
    "written",
    [
        CANARY,
        quote(CANARY, safe=""),
        quote(CANARY),
        quote_plus(CANARY),
        json.dumps(CANARY),
        json.dumps(CANARY, ensure_ascii=False),
        repr(CANARY),
        yaml.safe_dump(CANARY, allow_unicode=True),
        yaml.safe_dump(CANARY, default_style='"'),
        yaml.safe_dump(CANARY, default_style="'", allow_unicode=True),
        shlex.quote(CANARY),
        "https://x/?q=" + quote_plus(CANARY),
    ],
)
def test_values_of_secret_variables_are_found_in_every_spelling(written: str) -> None:
    """The value of a secret-looking variable is hidden raw, URL-quoted and escaped."""
    redactor = make_redactor(environ={"MY_SERVICE_TOKEN": CANARY})
    hidden = redactor.text(f"before {written} after")
    assert "c4n4ry" not in hidden
    assert "before " in hidden
    assert " after" in hidden


@pytest.mark.parametrize("value", ["1", "true", "root", "postgres", "/tmp/keys/a", "~/.netrc", ""])
def test_short_common_and_path_values_are_not_hunted(value: str) -> None:
    """A secret-looking variable with a harmless value does not wreck the logs."""
    redactor = make_redactor(environ={"SECRET_TOKEN": value, "PGPASSWORD": value})
    line = f"root true 1 postgres /tmp/keys/a {value} epoch 1"
    assert redactor.text(line) == line


def test_digit_secrets_do_not_hit_inside_numbers() -> None:
    """A numeric secret is hidden as a word of its own, not in the middle of a longer number."""
    redactor = make_redactor(environ={"PIN_SECRET": "12345678"})
    assert redactor.text("loss 0.91234567890 at 12345678") == f"loss 0.91234567890 at {REDACTED}"


def test_variables_named_by_the_user_and_passwords_in_urls_count() -> None:
    """session.redaction.env adds names; the password of any URL in the environment is secret."""
    redactor = make_redactor(
        environ={"LAB_CODE": "zebra-4711-x", "DATABASE_URL": "postgresql://bob:s3cretpw9@db/x"},
        env_names=["lab_code"],
    )
    assert redactor.text("a zebra-4711-x b s3cretpw9") == f"a {REDACTED} b {REDACTED}"
    assert redactor.env({"LAB_CODE": "1", "HOME": "/root"}) == {
        "LAB_CODE": REDACTED,
        "HOME": "/root",
    }


def test_json_credentials_hide_only_their_secret_fields() -> None:
    """A service account in a variable hides its private key line by line, not its project."""
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\n-----END PRIVATE KEY-----\n"
    account = json.dumps({"project": "kestrel-lab-12", "private_key": key})
    redactor = make_redactor(environ={"GOOGLE_CREDENTIALS": account})
    assert redactor.text("kestrel-lab-12") == "kestrel-lab-12"
    assert redactor.text("  MIIEvQIBADANBgkqhkiG9w0BAQEF") == f"  {REDACTED}"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("wandb_v1_" + "aB3" * 20, "aB3aB3"),
        ("ghp_" + "a1B2" * 9, "a1B2"),
        ("github_pat_" + "11ABCDEFG0" * 5, "ABCDEFG"),
        ("hf_" + "aBcDeFgHiJ" * 3, "aBcDeF"),
        ("sk-proj-" + "aB1-_" * 10, "aB1"),
        ("sk-" + "0123456789abcdef" * 2, "6789abc"),
        ("AKIA" + "ABCDEFGHIJ234567", "ABCDEFGHIJ"),
        ("xoxb-123456789012-abcdefghijkl", "abcdefghijkl"),
        ("glpat-" + "abcdefghij0123456789", "abcdefghij"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "c2lnbmF0"),
        ("Authorization: Bearer abcdef123456", "abcdef"),
        ('{"Authorization": "Basic dXNlcjpwYXNz"}', "dXNlcjpwYXNz"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "MIIEow"),
        ("https://hooks.slack.com/services/T000/B000/XXXXyyyy", "XXXXyyyy"),
        ("https://discord.com/api/webhooks/1234/abcd-efgh", "abcd-efgh"),
        ("postgresql://alice:p@ss/w0rd@db.example/x", "ss/w0rd"),
        ("https://tokentoken@github.com/a/b", "tokentoken"),
        ("https://:pw123@host/", "pw123"),
        ("api_key=abc", "abc"),
        ("WANDB_API_KEY: 'it''s'", "it"),
        ('"client_secret": "ab\\"cd"', "cd"),
        ("max_tokens=token=ab1234567", "ab1234567"),
        ("password: hunter", "hunter"),
        ("Invalid token: abc123", "abc123"),
        ("run.py --token s3cr3t --lr 1", "s3cr3t"),
        ("export HF_TOKEN=abc;python x", "abc"),
        ('+api_key = "abcdef"', "abcdef"),
        ('+    token="abcdef",', "abcdef"),
        ("secret = ab12cd34", "ab12cd34"),
    ],
)
def test_known_shapes_and_pairs_are_hidden_in_text(text: str, secret: str) -> None:
    """Token shapes, URLs with a user, PEM blocks and key=value pairs are hidden in any text."""
    hidden = PLAIN.text(f"x {text}")
    assert secret not in hidden
    assert REDACTED in hidden
    assert hidden.startswith("x ")


@pytest.mark.parametrize(
    "text",
    [
        "commit 0123456789abcdef0123456789abcdef01234567",
        "sha=0123456789abcdef0123456789abcdef01234567",
        "unexpected token: identifier",
        "max_tokens=4096 pad_token=<pad> key=val/loss",
        "ssh://git@github.com/a/b.git",
        "http://localhost:8080/a@b",
        "risk-learn-examples-Digits-2024 sk-learn-examples-digits",
        "the bearer of responsibility",
        "+    if token == eos and token != pad and (token := step(x)):",
        "+    token = tokens[i]; encode(token=token, api_key=api_key, hf_token=self.hf_token)",
        '+    password = getpass("who"); api_key = os.environ["X"]',
        "token=None password=??? secret=${secret}",
        "Epoch 3: 100%|██████| 12/12 [00:01<00:00, 9.5it/s, v_num=0, train/loss=0.123]",
        "wandb/run-20260101_000000-abcd1234",
    ],
)
def test_innocent_text_is_untouched(text: str) -> None:
    """Commits, prose, hyper-parameters and progress bars come through as they are."""
    assert PLAIN.text(text) == text


def test_overrides_and_argv() -> None:
    """Secrets in Hydra overrides and options go, in every way of writing them."""
    overrides = [
        "a.api_key=xyz",
        "+db.password='x y'",
        "++secrets.a=b",
        "~db.password=x",
        "model={api_key: abc1, lr: 1}",
        "token=null",
        "lr=0.1,0.2",
        "git.commit=0123456789abcdef0123456789abcdef01234567",
    ]
    assert PLAIN.overrides(overrides) == [
        "a.api_key=<redacted>",
        "+db.password=<redacted>",
        "++secrets.a=<redacted>",
        "~db.password=<redacted>",
        "model={api_key: <redacted>, lr: 1}",
        "token=null",
        "lr=0.1,0.2",
        "git.commit=0123456789abcdef0123456789abcdef01234567",
    ]
    argv = ["train.py", "--token", "xyz", "--api-key=abc", "-m", "--password", "--verbose", "a=1"]
    assert PLAIN.argv(argv) == [
        "train.py",
        "--token",
        REDACTED,
        f"--api-key={REDACTED}",
        "-m",
        "--password",
        "--verbose",
        "a=1",
    ]


def test_environment_keeps_paths() -> None:
    """Variables that look secret and hold a path (PWD, SSH_KEY) stay readable."""
    environ = {"PWD": "/home/a b", "WANDB_API_KEY": "0" * 40, "HTTPS_PROXY": "http://u:pw@p:1"}
    assert PLAIN.env(environ) == {
        "PWD": "/home/a b",
        "WANDB_API_KEY": REDACTED,
        "HTTPS_PROXY": f"http://{REDACTED}@p:1",
    }


def test_keys_of_the_user_are_patterns_on_key_and_path() -> None:
    """session.redaction.keys hides by key or dotted path, in trees, overrides and text."""
    redactor = make_redactor(keys=["^licen[cs]e$", r"plan\.code"], environ={})
    assert redactor.tree({"License": "abcd", "plan": {"code": "efgh"}, "code": 1234}) == {
        "License": REDACTED,
        "plan": {"code": REDACTED},
        "code": 1234,
    }
    assert redactor.overrides(["plan.code=efgh"]) == ["plan.code=<redacted>"]
    assert redactor.text("license=abcd") == "license=<redacted>"


def test_a_wrong_pattern_is_a_clear_error() -> None:
    """A pattern that is no regular expression names its setting."""
    with pytest.raises(SessionConfigError, match=r"session\.redaction\.keys: '\(' is no"):
        make_redactor(keys=["("])


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just(CANARY), st.binary()
)
KEYS = st.one_of(st.text(), st.sampled_from(["password", "api_key", "lr", "a.token"]))
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20
)


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_tree_never_raises_and_hiding_twice_changes_nothing(tree: object) -> None:
    """Redaction is idempotent on any tree, and the canary is in none."""
    redactor = make_redactor(environ={"X_TOKEN": CANARY})
    once = redactor.tree(tree)
    assert CANARY not in str(once)
    assert repr(redactor.tree(once)) == repr(once)


FRAGMENTS = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [
                *("token", "=", ": ", "'", '"', "password", "--", "://", "@", "Bearer ", " ", "\n"),
                *("ghp_" + "a" * 30, REDACTED, CANARY, "-----BEGIN PRIVATE KEY-----", "\\", "a1b2"),
            ]
        ),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(FRAGMENTS)
def test_text_never_raises_and_hiding_twice_changes_nothing(text: str) -> None:
    """Redaction of text is idempotent, keeps what it need not touch, and the canary is gone."""
    redactor = make_redactor(environ={"X_TOKEN": CANARY})
    once = redactor.text(text)
    assert CANARY not in once
    assert redactor.text(once) == once


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=8, max_size=40), st.text(max_size=10), st.text(max_size=10))
def test_any_long_secret_disappears(secret: str, before: str, after: str) -> None:
    """Whatever a long enough secret consists of, it is in no text, JSON or repr afterwards."""
    redactor = make_redactor(environ={}, secrets=[secret])
    if redactor.values is None:  # common words and paths are not hunted, as documented
        return
    assert secret not in redactor.text(before + secret + after).replace(REDACTED, "")
