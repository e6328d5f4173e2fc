"""Hydra 1.3 scans this namespace for plugins; the plugin itself lives in ``keisei_lightning``."""

from keisei_lightning.search_path import KeiseiSearchPathPlugin

__all__ = ["KeiseiSearchPathPlugin"]
