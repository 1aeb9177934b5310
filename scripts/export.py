"""`polyp export`: `python scripts/export.py run=PATH output=FILE.onnx`."""

from polyp.commands.export import main

if __name__ == "__main__":
    main()
