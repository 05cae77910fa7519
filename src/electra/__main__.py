"""What ``python -m electra`` and ``torchrun -m electra`` run: the command line."""

import sys

from electra.cli import main

sys.exit(main())
