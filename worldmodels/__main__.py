"""`python -m worldmodels <verb>`."""

import sys

from worldmodels.command import main

sys.exit(main())
