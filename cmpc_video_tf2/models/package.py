"""The name under which Keras registers the classes of the video model."""

PACKAGE = "cmpc_video"
