"""The tiny training in an `open_session` block."""

import sys

from parts import life

from keisei_lightning import open_session

if __name__ == "__main__":
    what, place, directory = sys.argv[1:4]
    with open_session(directory, seed=7, session={"registry": {"enabled": False}}):
        life(what, place)
