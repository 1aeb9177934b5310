"""`polyp download`: `python scripts/download_data.py data=kvasir`."""

from polyp.commands.download import main

if __name__ == "__main__":
    main()
