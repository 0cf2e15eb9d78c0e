"""The base class of all models, which can be saved as `.keras` files only."""

import keras


class KerasFileModel(keras.Model):
    """A model that is saved as a `.keras` file only."""

    def save(self, filepath, *args, **kwargs):
        """As `keras.Model.save`.

        Raises:
            ValueError: `filepath` does not end in `.keras`. Keras could write other formats, but not read them again.
        """
        if not str(filepath).endswith(".keras"):
            raise ValueError(
                f"{filepath}: expected a name that ends in .keras, the only format this model is read from"
            )
        super().save(filepath, *args, **kwargs)
