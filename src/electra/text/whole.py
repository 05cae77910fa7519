"""A file is either whole or absent: see ``electra.files``."""

from electra.files import whole as whole
