"""The fields of the package's metadata that depend on where it is built: links of the README, and addresses.

In a GitHub workflow they lead to its repository, at the tag or branch that it runs on. Built anywhere else, the package
names no address, and the README's links stay relative.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class AddressesHook(MetadataHookInterface):
    """Fills `readme` and `urls`, which pyproject.toml declares as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set both fields."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        repository, ref = os.environ.get("GITHUB_REPOSITORY"), os.environ.get("GITHUB_REF_NAME")
        metadata["urls"] = addresses(repository) if repository else {}
        text = absolute(readme, f"https://github.com/{repository}", ref or "HEAD") if repository else readme
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def addresses(repository: str) -> dict[str, str]:
    """Addresses of a repository `owner/name`, its issues and its documentation on GitHub Pages."""
    home = f"https://github.com/{repository}"
    owner, name = repository.split("/")
    return {
        "Repository": home,
        "Documentation": f"https://{owner.lower()}.github.io/{name}/",
        "Issues": f"{home}/issues",
        "Changelog": f"{home}/blob/HEAD/CHANGELOG.md",
    }


def absolute(markdown: str, home: str, ref: str) -> str:
    """Markdown whose relative links lead to the repository at `home`, as a package index shows it."""
    images = re.sub(r"(!\[[^\]]*\]\()(?!https?:|#)", rf"\g<1>{home}/raw/{ref}/", markdown)
    return re.sub(r"(\]\()(?!https?:|#)", rf"\g<1>{home}/blob/{ref}/", images)
