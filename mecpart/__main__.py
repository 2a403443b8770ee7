"""`python -m mecpart` is `mecpart`."""

import sys

from mecpart.cli import main

if __name__ == "__main__":
    sys.exit(main())
