import sys

from worldmodels.command import run

sys.exit(run("train", sys.argv[1:]))
