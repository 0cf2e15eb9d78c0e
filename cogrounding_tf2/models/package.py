"""The name under which Keras registers the classes of the grounding models."""

PACKAGE = "cogrounding"
