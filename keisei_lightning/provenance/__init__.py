"""What code ran, with which packages, on what machine."""

from keisei_lightning.provenance.collector import Provenance
from keisei_lightning.provenance.git import git_diff, git_facts
from keisei_lightning.provenance.surroundings import environment, packages

__all__ = ["Provenance", "environment", "git_diff", "git_facts", "packages"]
