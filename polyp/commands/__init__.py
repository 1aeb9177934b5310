"""One module per command. `polyp NAME`, train.py and scripts/ call its `main`.

Each imports what it needs when it runs, so `--help` and `--cfg job` do not import torch.
"""
