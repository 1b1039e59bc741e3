"""`python -m ncp_control`: the command `ncp`, for where it is not on the path."""

import sys

from ncp_control.commands.ncp import main

if __name__ == "__main__":
    sys.argv[0] = "ncp"  # the name in messages
    main()
