"""Oxford Flowers-102 from tensorflow-datasets at 256x256.

Command:   fastgan train --preset flowers256
Hardware:  one GPU; `fastgan benchmark --config flowers256 --target h100` counts the memory that an iteration needs.
Data:      reads oxford_flowers102 as prepared in the array_record format; preparing it once needs TensorFlow and SciPy:
           python -c "import tensorflow_datasets as tfds; tfds.builder('oxford_flowers102',
           file_format='array_record').download_and_prepare()"
"""

import ml_collections

from fastgan_jax.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = base.get_config()
    config.data.tfds = "oxford_flowers102"
    config.data.tfds_split = "train+validation+test"
    config.data.fit = "crop"
    return config
