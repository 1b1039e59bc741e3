"""`python -m ncp_control`: the command `ncp`, for where it is not on the path."""

from ncp_control.commands.ncp import main

if __name__ == "__main__":
    main()
