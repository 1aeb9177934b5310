"""`polyp archive`: `python scripts/archive.py runs=GLOB output=FOLDER`."""

from polyp.commands.archive import main

if __name__ == "__main__":
    main()
