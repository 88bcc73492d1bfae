"""Data sets of tensorflow-datasets."""

import sys
from functools import partial

import pytest
from image_sets import BLUE, GREEN, RED, decoded, load
from PIL import Image

from fastgan_jax.errors import UserError


def test_an_unprepared_tfds_set_says_how_to_prepare_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    with pytest.raises(UserError, match=r"file_format='array_record'\)\.download_and_prepare\(\)"):
        load(tmp_path, tfds="oxford_flowers102")


def test_a_prepared_tfds_set_is_read_without_tensorflow(tmp_path, folder, monkeypatch):
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder):
        """Three images of two classes."""

        __module__ = "__main__"  # as in a notebook: tensorflow-datasets looks for no files beside it
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for index, color in enumerate((RED, GREEN, BLUE)):
                path = folder.parent / f"{index}.png"
                Image.new("RGB", (12, 12), color).save(path)
                yield index, {"image": str(path), "label": index % 2}

    from fastgan_jax.data.tfds_source import TfdsSource

    Tiny(data_dir=tmp_path / "tfds", file_format="array_record").download_and_prepare()
    monkeypatch.setattr(tfds, "builder", partial(tfds.builder, data_dir=tmp_path / "tfds"))
    source = TfdsSource("tiny:1.0.0", "train")
    colors = {tuple(decoded(source.read(index))[0, 0]) for index in range(3)}
    assert colors == {RED, GREEN, BLUE}
    assert sorted(source.labels(2)) == [0, 0, 1]
    with pytest.raises(UserError, match=r"model\.num_classes=3: .* has 2 classes"):
        source.labels(3)
    assert "tensorflow" not in sys.modules
