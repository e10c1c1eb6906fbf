"""What a reader tells its user about the data, once."""

import logging
from functools import cache

log = logging.getLogger("decomprec.data")


@cache
def say(text: str) -> None:
    """Log a sentence about the data, once in a process: each split of a data set is made more than once."""
    log.info(text)
