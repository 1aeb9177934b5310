"""`polyp predict`: `python scripts/predict.py run=PATH input=FILE_OR_FOLDER output=FOLDER`."""

from polyp.commands.predict import main

if __name__ == "__main__":
    main()
