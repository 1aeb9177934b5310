"""`polyp serve`: `python scripts/serve.py run=PATH`."""

from polyp.commands.serve import main

if __name__ == "__main__":
    main()
