"""What all models have in common: they can be saved as `.keras` files only."""


class KerasFileModel:
    """A mixin for `keras.Model`, to be named before it.

    Not a subclass of it: when Keras makes a functional model of a subclass, it changes the base classes of all that the
    subclass inherits from, and other subclasses of these could no longer be built in another way.
    """

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
