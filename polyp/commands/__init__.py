"""The commands, a module for each: `polyp NAME` is its `main`, and so are train.py and scripts/.

Each imports what it needs when it runs, as `--help` and `--cfg job` need no torch, and answer at
once.
"""
