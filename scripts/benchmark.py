"""`polyp benchmark`: `python scripts/benchmark.py measure=[steps,peers]`."""

from polyp.commands.benchmark import main

if __name__ == "__main__":
    main()
