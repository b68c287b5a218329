"""`python -m server`: the command line. What each command does is in `server.cli`."""

import sys

from server.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
