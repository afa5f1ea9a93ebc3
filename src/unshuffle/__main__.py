"""``python -m unshuffle``, and the program ``unshuffle``: Ctrl-C is handled before anything heavy is imported."""

import sys

from unshuffle import _interrupts

if __name__ in ("__main__", "unshuffle.__main__"):
    _interrupts.install()

from unshuffle.cli import main

if __name__ == "__main__":
    sys.exit(main())
