"""`polyp rotation_error`: `python scripts/rotation_error.py output=FILE.png`."""

from polyp.commands.rotation_error import main

if __name__ == "__main__":
    main()
