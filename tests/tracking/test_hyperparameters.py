"""Hyper-parameters: plain and redacted, whatever they are made of."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from keisei_lightning.tracking.hyperparameters import plain


class Colour(Enum):
    RED = "red"


@dataclass
class Optimiser:
    lr: float
    path: Path


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_every_kind_of_value_becomes_plain() -> None:
    """Dataclasses, namespaces, enums, paths, callables and objects that refuse to be text."""
    tree = {
        "optimiser": Optimiser(0.1, Path("/data")),
        "args": argparse.Namespace(n=1, flags=(True, None)),
        "colour": Colour.RED,
        "function": json.dumps,
        3: {"nested": [1.5, "x"]},
        "hostile": Hostile(),
    }
    result = plain(tree)
    assert result == {
        "optimiser": {"lr": 0.1, "path": "/data"},
        "args": {"n": 1, "flags": [True, None]},
        "colour": "red",
        "function": "json.dumps",
        "3": {"nested": [1.5, "x"]},
        "hostile": "<Hostile>",
    }


def test_a_broken_config_never_raises() -> None:
    """Missing values and broken interpolations are named in their place."""
    config = OmegaConf.create({"a": "???", "b": "${nowhere}", "c": {"d": [1, "${b}"]}, "e": 1})
    result = plain(config)
    assert result["e"] == 1
    assert "Missing" in result["a"]
    assert "Interpolation" in result["b"]
    json.dumps(result)


def test_a_circle_ends() -> None:
    """A structure that holds itself becomes text at a depth."""
    circle: dict[str, Any] = {}
    circle["self"] = circle
    json.dumps(plain(circle))


def test_text_is_redacted_everywhere() -> None:
    """In values, in keys and in what objects say of themselves."""
    hide = lambda text: text.replace("hunter2", "***")  # noqa: E731
    tree = {"a hunter2": ["hunter2"], "path": Path("/hunter2")}
    assert "hunter2" not in json.dumps(plain(tree, hide))
