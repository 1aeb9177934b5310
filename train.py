"""`polyp train`: `python train.py model=p4unet data=kvasir`."""

from polyp.commands.train import main

if __name__ == "__main__":
    main()
