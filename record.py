import sys

from worldmodels.command import run

sys.exit(run("record", sys.argv[1:]))
