"""Where the data come from: the user's Cityscapes folder, or else generated street scenes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from acfnet_tf.config import DataConfig

ENVIRONMENT_VARIABLE = "CITYSCAPES_DATASET"


@dataclass(frozen=True)
class DataSource:
    """A folder in the Cityscapes layout.

    Attributes:
        root: the folder that holds leftImg8bit and gtFine.
        generated: whether these are generated street scenes.
        description: one line for the user.
    """

    root: Path
    generated: bool
    description: str


def open_data(config: DataConfig, data_dir: str | None) -> DataSource:
    """`data_dir`, else the folder of `CITYSCAPES_DATASET`, else street scenes generated under ./data on first use.

    The user's folder is not looked into here; `list_samples` does that.
    """
    environment = os.environ.get(ENVIRONMENT_VARIABLE)
    for folder, origin in ((data_dir, "--data_dir"), (environment, ENVIRONMENT_VARIABLE)):
        if folder:
            root = Path(folder).expanduser()
            return DataSource(root, False, f"Data: Cityscapes folder {root} (from {origin}).")

    # Here and not above: the generator's libraries are of no use to those who have Cityscapes.
    from acfnet_tf.data.street_scenes import write_street_scenes

    (height, width), train, val, test = config.scene_size, config.scene_train, config.scene_val, config.scene_test
    root = Path("data") / f"street_scenes_{height}x{width}_{train}+{val}+{test}_seed{config.scene_seed}"
    write_street_scenes(root, train=train, val=val, test=test, size=config.scene_size, seed=config.scene_seed)
    description = (
        f"Data: generated street scenes in {root}."
        f" For Cityscapes give --data_dir=DIR or set {ENVIRONMENT_VARIABLE}=DIR,"
        " the folder that holds leftImg8bit and gtFine."
    )
    return DataSource(root, True, description)
