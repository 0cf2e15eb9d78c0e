"""Picture files without their metadata, which may be damaged where the pixels are not."""

# An animation stays one.
_ANIMATION_CHUNKS = (b"acTL", b"fcTL", b"fdAT")


def without_metadata(content: bytes) -> bytes | None:
    """The same picture without text, colour profile, orientation and so on.

    Args:
        content: A file.

    Returns:
        A file with the same pixels; None for formats whose metadata does not keep Pillow from decoding them.
    """
    if content.startswith(b"\xff\xd8\xff"):
        return _bare_jpeg(content)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _bare_png(content)
    if content[4:8] == b"ftyp":  # AVIF: an item of unknown type is passed over.
        return content.replace(b"Exif", b"none", 1)
    return None


def _bare_jpeg(content: bytes) -> bytes:
    """Without comments and application segments, except those that say how colours are stored (JFIF and Adobe)."""
    kept, at = [content[:2]], 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":  # The scan starts.
        marker = content[at + 1 : at + 2]
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        says_colours = marker in (b"\xe0", b"\xee") and end - at >= 16
        if says_colours or not (b"\xe0" <= marker <= b"\xef" or marker == b"\xfe"):
            kept.append(content[at:end])
        at = end
    return b"".join([*kept, content[at:]])


def _bare_png(content: bytes) -> bytes:
    """Without the chunks that the pixels do not need; their names start with a small letter."""
    kept, at = [content[:8]], 8
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        name = content[at + 4 : at + 8]
        if name[:1].isupper() or name in _ANIMATION_CHUNKS:
            kept.append(content[at:end])
        at = end
    return b"".join(kept)
