"""``python -m electra``, and so ``torchrun -m electra``."""

import sys

from electra.cli import main

sys.exit(main())
