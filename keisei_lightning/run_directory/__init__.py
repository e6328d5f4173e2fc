"""The run directory: where each file of a run is, who owns it, and the record in it."""

from keisei_lightning.atomic_file import write_atomic
from keisei_lightning.run_directory.claiming import Claim, claim, default_fallback
from keisei_lightning.run_directory.owner import owner_is_alive, process_facts
from keisei_lightning.run_directory.paths import RunDirectory
from keisei_lightning.run_directory.record_file import read_record, write_record
from keisei_lightning.run_directory.status_links import link_status

__all__ = [
    "Claim",
    "RunDirectory",
    "claim",
    "default_fallback",
    "link_status",
    "owner_is_alive",
    "process_facts",
    "read_record",
    "write_atomic",
    "write_record",
]
