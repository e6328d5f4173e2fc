"""``python -m keisei_lightning.cli`` is ``keisei``."""

import sys

from keisei_lightning.cli import main

sys.exit(main())
