"""The tiny training with nothing but the callback."""

import sys

from parts import life

if __name__ == "__main__":
    life(*sys.argv[1:3])
