"""``python -m ketacast``."""

from __future__ import annotations

import sys

from ketacast.cli.main import main

sys.exit(main())
