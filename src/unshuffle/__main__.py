"""``python -m unshuffle`` is ``unshuffle``."""

import sys

from unshuffle.cli import main

sys.exit(main())
