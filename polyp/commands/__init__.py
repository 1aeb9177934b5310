"""The commands, a module for each: `polyp NAME` is its `main`, and so are train.py and scripts/.

Each imports what it needs when it runs: `--help` and `--cfg job` do not import torch.
"""
