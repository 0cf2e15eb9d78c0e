"""The commands of the video system that differ from those of pictures."""
