"""Read a YAML file without surprises: safe types, no repeated key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ketacast.errors import ArtifactError, MissingDependencyError

if TYPE_CHECKING:
    import yaml


def read_yaml(path: Path) -> object:
    """Read a YAML file with PyYAML's safe types.

    Parameters
    ----------
    path : Path
        UTF-8.

    Returns
    -------
    object
        Mappings, lists, texts, numbers, flags and dates.

    Raises
    ------
    ArtifactError
        If the file cannot be read, is not YAML or repeats a key (of which YAML
        readers silently keep the last).
    MissingDependencyError
        If PyYAML is not installed.
    """
    try:
        import yaml  # noqa: PLC0415 - needed for a card only
    except ImportError as error:
        raise MissingDependencyError(
            "a model card is read with PyYAML, which is not installed; run `pip install PyYAML`"
        ) from error
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        found: object = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"cannot read {path}: {error}; restore it") from error
    except yaml.YAMLError as error:
        raise ArtifactError(f"{path} is not valid YAML: {error}") from error
    _refuse_repeated_keys(root, path)
    return found


def _refuse_repeated_keys(root: yaml.Node | None, path: Path) -> None:
    from yaml import MappingNode, SequenceNode  # noqa: PLC0415

    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, SequenceNode):
            waiting += node.value
        elif isinstance(node, MappingNode):
            keys = set()
            for key, value in node.value:
                if key.value in keys:
                    line = key.start_mark.line + 1
                    raise ArtifactError(f"{path}:{line}: {key.value!r} appears twice; keep one")
                keys.add(key.value)
                waiting.append(value)
