"""The build hook for Hatch: downloads the files of the playground for a wheel or an editable install."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PlaygroundHook(BuildHookInterface[BuilderConfig]):
    """Downloads the files of the playground. Without npm, the build goes on without them and shows a warning."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        assets = runpy.run_path(str(Path(self.root, "gateway/http/playground/assets.py")))
        try:
            assets["fetch"]()
        except assets["AssetsError"] as error:
            self.app.display_warning(f"The build does not contain the playground: {error}.")
