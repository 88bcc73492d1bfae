"""Images of a data set of tensorflow-datasets, read by random access without TensorFlow."""

from fastgan_jax.data.source import Source
from fastgan_jax.errors import UserError, gist


class TfdsSource(Source):
    """A split of a prepared data set, its images as the bytes they are stored as."""

    def __init__(self, name: str, split: str):
        """Opens the data set, in the folder of tensorflow-datasets.

        Raises:
            UserError: if it is unknown, not prepared for random access, or has no images.
        """
        import tensorflow_datasets as tfds

        self.description = f"tensorflow-datasets {name}, split {split}"
        try:
            builder = tfds.builder(name, file_format="array_record")
            if "image" not in builder.info.features:
                raise UserError(f"data.tfds={name}: it has no feature 'image': choose a data set of images")
            self._rows = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        except UserError:
            raise
        except tfds.core.DatasetNotFoundError:
            raise UserError(f"data.tfds={name}: tensorflow-datasets has no such data set") from None
        except (NotImplementedError, AssertionError, KeyError, FileNotFoundError, ModuleNotFoundError) as error:
            raise UserError(
                f"data.tfds={name} is not prepared for random access ({gist(error)}): prepare it once, where "
                'TensorFlow is installed: python -c "import tensorflow_datasets as tfds; '
                f"tfds.builder('{name}', file_format='array_record').download_and_prepare()\""
            ) from None
        except ValueError as error:
            raise UserError(f"data.tfds={name}, data.tfds_split={split}: {gist(error)}") from None
        self._version = f"{builder.info.full_name}/{split}/{len(self._rows)}"
        self.names = [f"{index:06d}" for index in range(len(self._rows))]

    def read(self, index: int) -> bytes:
        return bytes(self._rows[index]["image"])

    def labels(self, num_classes: int) -> list[int]:
        """The class of each image.

        Raises:
            UserError: if the data set does not have `num_classes` classes.
        """
        feature = dict(self._rows.dataset_info.features.items()).get("label")
        if feature is None or feature.num_classes != num_classes:
            found = "no classes" if feature is None else f"{feature.num_classes} classes"
            raise UserError(f"model.num_classes={num_classes}: {self.description} has {found}")
        return [int(self._rows[index]["label"]) for index in range(len(self._rows))]

    def class_names(self, num_classes: int) -> list[str]:
        return list(self._rows.dataset_info.features["label"].names)

    def fingerprint(self) -> str:
        """Name, version and split: a prepared data set does not change."""
        return self._version
