"""`polyp view`: `python scripts/view.py runs=[A,B] output=FILE.html`."""

from polyp.commands.view import main

if __name__ == "__main__":
    main()
