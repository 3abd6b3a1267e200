"""``python -m ketacast_service``."""

import sys

from ketacast_service.cli import main

if __name__ == "__main__":
    sys.exit(main())
