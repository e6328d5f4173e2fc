"""What is shown on the console and what is kept of it.

:class:`Capture` copies the output into ``logs/``, :func:`attach_training_log` keeps our own log
lines, :func:`show_start` and :func:`show_end` draw the banner and the summary.
"""

from keisei_lightning.console.announcement import (
    duration,
    show_end,
    show_start,
    start_lines,
    summary_lines,
)
from keisei_lightning.console.capture import Capture
from keisei_lightning.console.training_log import TrainingLog, attach_training_log

__all__ = [
    "Capture",
    "TrainingLog",
    "attach_training_log",
    "duration",
    "show_end",
    "show_start",
    "start_lines",
    "summary_lines",
]
