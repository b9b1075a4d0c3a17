"""The verbs of the command line: arguments in, one call, words out. No logic lives here.

One file for each group of verbs, named after what they are for; ``app`` lists the verbs. Heavy imports happen inside
the verbs, so that ``--help`` is instant.
"""

from blemish.cli.app import main

__all__ = ["main"]
