"""Our YAMLs of the group `hydra` stand for the plugins' choices of the same names."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class Choices(SearchPathPlugin):
    """Hydra asks it after it has imported all plugins, and before it reads any config.

    A plugin's stored choice would be merged into the file as its schema; Hydra has given that up, and warns or refuses.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:  # noqa: ARG002 (it stays as it is)
        from hydra.core.config_store import ConfigStore

        from worldmodels.launch.choices import conf

        stored = ConfigStore.instance().repo.get("hydra", {})
        for path in (conf() / "hydra").glob("*/*.yaml"):
            stored.get(path.parent.name, {}).pop(path.name, None)
