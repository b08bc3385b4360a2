"""Everything zipspark raises on purpose, and the exit code each kind ends a command with.

::

    Exception
    └── ZipsparkError            exit 1   (never raised itself)
        ├── UsageError           exit 2   an option, a flag or a key in a YAML file is wrong
        ├── InputError           exit 3   the data, or the place it should be read from or written to, is wrong
        └── EngineError          exit 4   Java, Spark or a library they need is missing, too old or failing

A message is one for a person: the field, the rule, the value that broke it, and what to do.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_DIFFERS = 5  # `zipspark verify` found a difference
EXIT_INTERRUPTED = 130


class ZipsparkError(Exception):
    """Base of all expected failures; the command line prints its message without a traceback."""

    exit_code = 1


class UsageError(ZipsparkError, ValueError):
    """An option cannot be used as given."""

    exit_code = 2


class InputError(ZipsparkError):
    """The data cannot be used as it is, or OUT cannot be written."""

    exit_code = 3


class EngineError(ZipsparkError):
    """Java, Spark or one of their libraries cannot do the work."""

    exit_code = 4
