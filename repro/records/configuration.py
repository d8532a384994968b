"""config.yaml: the configuration of the last command that changed what the run folder shows."""

from omegaconf import OmegaConf

from repro.configuration.compose import Config
from repro.folder.manifest import write_text_result
from repro.folder.paths import RunFolder


def write_configuration(folder: RunFolder, config: Config) -> None:
    """Write config.yaml, unless it says just this already."""
    text = OmegaConf.to_yaml(OmegaConf.create(config.values))
    if not folder.config.exists() or folder.config.read_bytes() != text.encode():
        write_text_result(folder, folder.config, text)
