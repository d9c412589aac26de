"""`python -m ragserver` is the `ragserver` command."""

from ragserver.cli import main

if __name__ == "__main__":
    main()
