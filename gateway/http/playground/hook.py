"""Hatch's hook: the playground's files go into the wheel, or beside an editable install, where npm can get them."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PlaygroundHook(BuildHookInterface[BuilderConfig]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        assets = runpy.run_path(str(Path(self.root, "gateway/http/playground/assets.py")))
        try:
            assets["fetch"]()
        except assets["AssetsError"] as error:
            self.app.display_warning(f"The playground's files are left out: {error}.")
