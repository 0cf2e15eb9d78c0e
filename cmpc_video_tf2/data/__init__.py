"""Annotated videos to batches, and clips out of videos."""
