import sys

from worldmodels.command import run

if __name__ == "__main__":  # subprocesses that step worlds import this file, too
    sys.exit(run("sweep", sys.argv[1:]))
