from cmpc_tf2.reports.gallery import GalleryEntry, write_gallery


def test_expressions_are_escaped_in_the_gallery(tmp_path):
    write_gallery(tmp_path / "index.html", "a & b", [GalleryEntry(0, "0.png", "<script>alert(1)</script>", 0.5)])
    page = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;, IoU 0.500" in page
    assert "<title>a &amp; b</title>" in page
