"""`polyp compare`: `python scripts/compare.py runs=GLOB output=FOLDER`."""

from polyp.commands.compare import main

if __name__ == "__main__":
    main()
