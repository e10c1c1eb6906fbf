"""decomprec."""
