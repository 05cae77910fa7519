"""Pre-train text encoders by replaced token detection (ELECTRA), and hand over checkpoints that anyone can load."""

__version__ = "0.1.0"
