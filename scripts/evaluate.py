"""`polyp evaluate`: `python scripts/evaluate.py run=PATH data=cvc`."""

from polyp.commands.evaluate import main

if __name__ == "__main__":
    main()
