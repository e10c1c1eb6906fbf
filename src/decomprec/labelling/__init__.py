"""Label maps for labelling tools, and corrected label maps back from them."""

from decomprec.labelling.transfer import TOOLS, export_labels, import_labels

__all__ = ["TOOLS", "export_labels", "import_labels"]
