"""The effective config: hostile configs, secrets, one hash, files and diffs."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import functools
import json
import pickle
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from keisei_lightning.effective_config import (
    as_json,
    as_yaml,
    config_hash,
    diff,
    effective,
    save,
    secret_values,
)
from keisei_lightning.redaction import REDACTED, make_redactor

CANARY = "c4n4ry-of-the-mine"
REDACTOR = make_redactor(environ={})


@pytest.fixture
def resolvers() -> Iterator[None]:
    """Resolvers of a user, one of which raises; removed afterwards."""
    OmegaConf.register_new_resolver("test_boom", lambda: 1 / 0)
    OmegaConf.register_new_resolver("test_double", lambda x: 2 * x)
    yield
    OmegaConf.clear_resolver("test_boom")
    OmegaConf.clear_resolver("test_double")


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: object


@dataclasses.dataclass
class Model:
    lr: float = 0.1
    act: Any = torch.nn.functional.relu


class Opaque:
    pass


class Hostile:
    """An object all of whose attributes raise."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")


@pytest.mark.usefixtures("resolvers")
def test_nodes_resolve_one_by_one() -> None:
    """A missing value, a broken interpolation or a raising resolver spoils only itself."""
    cfg = OmegaConf.create(
        {
            "lr": 0.1,
            "twice": "${test_double:${lr}}",
            "text": "lr is ${lr}",
            "missing": "???",
            "of_missing": "${missing}",
            "broken": "${nothing.here}",
            "boom": "${test_boom:}",
            "bad_syntax_kept": "\\${lr}",
            "items": [1, "${lr}", {"deep": "${boom}"}],
            "node": "${model}",
            "model": {"width": "${.depth}", "depth": 3},
            "none": None,
        }
    )
    assert effective(cfg, REDACTOR) == {
        "lr": 0.1,
        "twice": 0.2,
        "text": "lr is 0.1",
        "missing": "???",
        "of_missing": "${missing}",
        "broken": "${nothing.here}",
        "boom": "${test_boom:}",
        "bad_syntax_kept": "${lr}",
        "items": [1, 0.1, {"deep": "${boom}"}],
        "node": {"width": 3, "depth": 3},
        "model": {"width": 3, "depth": 3},
        "none": None,
    }


def test_structured_configs_and_objects_in_omegaconf() -> None:
    """Enums, paths and object leaves of OmegaConf become stable text."""
    cfg = OmegaConf.create(
        {"c": Colour.RED, "p": Path("a b/ü"), "o": Opaque(), 1: "x", "b": b"hi"},
        flags={"allow_objects": True},
    )
    assert effective(cfg, REDACTOR) == {
        "c": "RED",
        "p": "a b/ü",
        "o": f"<{__name__}.Opaque object>",
        "1": "x",
        "b": "hi",
    }
    assert effective(OmegaConf.structured(Model(act=3)), REDACTOR) == {"lr": 0.1, "act": 3}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Level.HIGH, "HIGH"),
        (PurePosixPath("/a"), "/a"),
        (torch.float32, "torch.float32"),
        (torch.device("cpu"), "cpu"),
        (np.dtype("int8"), "int8"),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (torch.zeros(2, 3), "<Tensor shape=(2, 3) dtype=torch.float32>"),
        (np.zeros((4,)), "<ndarray shape=(4,) dtype=float64>"),
        (torch.tensor(2.0), 2.0),
        (torch.Size([1, 2]), [1, 2]),
        (torch.nn.Linear, "<class torch.nn.modules.linear.Linear>"),
        (json.dumps, "<function json.dumps>"),
        (functools.partial(json.dumps, indent=2), "<partial function json.dumps>"),
        (Opaque(), f"<{__name__}.Opaque object>"),
        (json, "<module json>"),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (b"\xff\x00", "<2 bytes>"),
        (Point(1, Opaque), {"x": 1, "y": f"<class {__name__}.Opaque>"}),
        (SimpleNamespace(a=1), {"a": 1}),
        (1 + 2j, "(1+2j)"),
        ("\ud800", "\\ud800"),
        ({1: "a", "1": "b"}, {"1": "a", "1 (str)": "b"}),
        ({"a.b": {"c.d": 1}}, {"a.b": {"c.d": 1}}),
    ],
)
def test_leaves_have_one_stable_text(value: object, plain: object) -> None:
    """Each kind of object has a text without a memory address, the same in every process."""
    assert effective({"value": value}, REDACTOR) == {"value": plain}


def test_what_is_no_config_is_taken_as_well() -> None:
    """Namespaces, dataclasses, None and lists give a tree; hostile objects are only named."""
    assert effective(argparse.Namespace(lr=1), REDACTOR) == {"lr": 1}
    assert effective(Model(), REDACTOR)["act"] == "<function torch.nn.functional.relu>"
    assert effective(None, REDACTOR) == {}
    assert effective([1, 2], REDACTOR) == {"config": [1, 2]}
    assert effective({"h": Hostile()}, REDACTOR) == {"h": f"<{__name__}.Hostile object>"}
    assert effective(Hostile(), REDACTOR) == {"config": f"<{__name__}.Hostile object>"}


def test_cycles_depth_and_laughs_are_bounded() -> None:
    """A cycle, a tree without end and a billion laughs come back small."""
    cycle: dict[str, Any] = {"a": 1}
    cycle["self"] = [cycle]
    assert effective(cycle, REDACTOR) == {"a": 1, "self": ["<cycle>"]}
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"d": deep}
    assert "<too deep>" in as_json(effective(deep, REDACTOR))
    laughs: list[Any] = ["ha"]
    for _ in range(12):
        laughs = [laughs] * 10
    assert "too many values" in as_json(effective({"l": laughs}, REDACTOR))
    cfg = OmegaConf.create({"a": {"b": "${a}"}})
    assert effective(cfg, REDACTOR) == {"a": {"b": "${a}"}}


def test_ten_thousand_keys_are_quick() -> None:
    """10 000 keys take well under a second (generous bound for a slow machine)."""
    cfg = OmegaConf.create({f"k{i}": {"a": i, "b": f"v{i}"} for i in range(5000)})
    start = time.perf_counter()
    tree = effective(cfg, REDACTOR)
    assert time.perf_counter() - start < 5
    assert tree["k4999"] == {"a": 4999, "b": "v4999"}


def test_the_canary_is_in_no_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret from the environment, through any chain of interpolations, is in no output."""
    monkeypatch.setenv("LAB_API_KEY", CANARY)
    monkeypatch.setenv("DB_PASSWORD", "roo7")
    cfg = OmegaConf.create(
        {
            "direct": "${oc.env:LAB_API_KEY}",
            "far": "${middle}",
            "middle": "${direct}",
            "inside": "https://u:${oc.env:LAB_API_KEY}@h/${direct}",
            "default": "${oc.env:NO_SUCH_TOKEN,def4ult-secret}",
            "short": "${oc.env:DB_PASSWORD}",
            "short_inside": "x${oc.env:DB_PASSWORD}y",
            "public": "${oc.env:HOME}",
            "root": "roo7",
            "literal": {"client_secret": "abcd1234"},
            "list": [CANARY],
        }
    )
    secrets = secret_values(cfg)
    assert {CANARY, "roo7", "def4ult-secret", "abcd1234"} <= secrets
    tree = effective(cfg, make_redactor(environ={}, secrets=secrets))
    for text in (as_yaml(tree), as_json(tree), diff({}, tree), pickle.dumps(tree).decode("latin1")):
        assert "c4n4ry" not in text
        assert "def4ult" not in text
        assert "abcd1234" not in text
    assert tree["short"] == REDACTED
    assert tree["short_inside"] == f"x{REDACTED}y"
    assert tree["root"] == "roo7"
    assert REDACTED not in tree["public"]


def test_origin_hides_without_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """effective() hides what comes from a secret variable even if the redactor knows nothing."""
    monkeypatch.setenv("LAB_API_KEY", CANARY)
    cfg = OmegaConf.create({"a": "${oc.env:LAB_API_KEY}", "b": ["${a}"]})
    assert effective(cfg, REDACTOR) == {"a": REDACTED, "b": [REDACTED]}


def test_secret_values_of_anything() -> None:
    """secret_values() never raises and finds nothing where there is nothing."""
    assert secret_values(None) == frozenset()
    assert secret_values(Hostile()) == frozenset()
    assert secret_values({"token": "pad", "password": "???", "api_key": "${oops}"}) == frozenset()


def test_hash_names_the_config_seed_aside() -> None:
    """Order, seed, session, hydra and output paths do not count; anything else does."""
    tree = {"model": {"lr": 0.1, "seed": 1}, "data": {"x": float("nan")}, "session": {"id": "a"}}
    other = {"data": {"x": float("nan")}, "seed": 9, "model": {"seed": 2, "lr": 0.1}, "hydra": {}}
    assert config_hash(tree) == config_hash(other)
    assert len(config_hash(tree)) == 12
    assert config_hash(tree) != config_hash({**tree, "model": {"lr": 0.2}})
    mine = config_hash({"ckpt": "/runs/a/x.ckpt"}, own=["/runs/a"])
    assert mine == config_hash({"ckpt": "/runs/b/x.ckpt"}, own=["/runs/b"])


def test_yaml_is_read_back_by_omegaconf_as_it_was() -> None:
    """Texts that look like numbers, dates or switches stay texts; unicode stays readable."""
    tree = {"a": "1e3", "b": "yes", "c": "2020-01-01", "ü": "日本", "long": "w " * 200, "n": None}
    text = as_yaml(tree)
    assert "日本" in text
    assert OmegaConf.to_container(OmegaConf.create(text)) == tree


def test_save_writes_once_and_reports_what_failed(weird_directory: Path) -> None:
    """Files hold the tree; the same content is not written again; an error is a sentence."""
    written: list[Path] = []

    def write(path: Path, data: bytes) -> None:
        path.write_bytes(data)
        written.append(path)

    tree = {"lr": 0.1, "ü": [1, float("nan")]}
    assert save(weird_directory, tree, pickle=True, write=write) == []
    names = ["effective_config.yaml", "effective_config.json", "effective_config.pkl"]
    assert [path.name for path in written] == names
    assert yaml.safe_load(written[0].read_text("utf-8"))["lr"] == 0.1
    assert json.loads(written[1].read_text("utf-8")) == {"lr": 0.1, "ü": [1, "NaN"]}
    assert pickle.loads(written[2].read_bytes())["lr"] == 0.1
    assert save(weird_directory, tree, pickle=True, write=write) == []
    assert len(written) == 3
    assert save(weird_directory, {"lr": 0.2}, write=write) == []
    assert len(written) == 5
    warnings = save(weird_directory / "missing", tree, write=write)
    assert len(warnings) == 2
    assert "effective_config.yaml" in warnings[0]


@pytest.fixture
def weird_directory(tmp_path: Path) -> Path:
    """A directory whose name has spaces, quotes and unicode."""
    path = tmp_path / "a b'c\"d ü"
    path.mkdir()
    return path


def test_diff_lists_exactly_what_changed() -> None:
    """The diff has one line for what was and one for what is, and is empty for equals."""
    before = {"a": {"lr": 0.1, "n": 1}, "b": 2}
    after = {"a": {"lr": 0.2, "n": 1}, "b": 2}
    text = diff(before, after, "start", "end")
    changed = [line for line in text.splitlines() if line[0] in "+-"]
    assert changed == ["--- start", "+++ end", "-  lr: 0.1", "+  lr: 0.2"]
    assert diff(before, before) == ""


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.binary(max_size=5),
    st.sampled_from(
        ["???", "${x}", "${oc.env:HOME}", "${", CANARY, Colour.RED, Opaque, json.dumps]
    ),
)
KEYS = st.one_of(st.text(max_size=6), st.integers(), st.booleans(), st.just("password"))
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(KEYS, inner, max_size=3)
            | st.sets(st.integers())
        ),
        max_leaves=12,
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_any_tree_is_written_and_hiding_twice_changes_nothing(tree: dict[Any, Any]) -> None:
    """Any tree gives YAML and JSON that parse and a hash, without the canary, idempotently."""
    redactor = make_redactor(environ={}, secrets=[CANARY])
    plain = effective(tree, redactor)
    assert CANARY not in as_json(plain)
    assert json.loads(as_json(plain)).keys() == plain.keys()
    assert set(yaml.safe_load(as_yaml(plain))) == set(plain)
    assert as_yaml(redactor.tree(plain)) == as_yaml(plain)
    assert as_yaml(effective(plain, redactor)) == as_yaml(plain)


def _reordered(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _reordered(item) for key, item in reversed(tree.items())}
    return [_reordered(item) for item in tree] if isinstance(tree, list) else tree


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_the_hash_does_not_know_the_order_of_keys(tree: dict[Any, Any]) -> None:
    """The same keys in another order, at any depth, have the same hash."""
    plain = effective(tree, REDACTOR)
    assert config_hash(_reordered(plain)) == config_hash(plain)
