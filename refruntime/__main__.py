"""Run the command line with `python -m refruntime`."""

from __future__ import annotations

import sys

from refruntime.cli import main

sys.exit(main())
