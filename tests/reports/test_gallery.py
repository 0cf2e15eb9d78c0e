from cmpc_tf2.reports.gallery import GalleryEntry, write_gallery


def test_expressions_are_escaped_in_the_gallery(tmp_path):
    write_gallery(tmp_path / "index.html", "a & b", [GalleryEntry(0, "0.png", "<script>alert(1)</script>", 0.5)])
    page = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;, IoU 0.500" in page
    assert "<title>a &amp; b</title>" in page


def test_half_a_surrogate_pair_does_not_keep_the_page_from_being_written(tmp_path):
    write_gallery(tmp_path / "index.html", "a", [GalleryEntry(0, "0.png", "man \ud83d", 0.5)])
    assert "man &#55357;" in (tmp_path / "index.html").read_text()


def test_names_of_files_are_quoted(tmp_path):
    write_gallery(tmp_path / "index.html", "a", [GalleryEntry(0, "50% drawn/0.png", "man", 0.5)])
    assert 'src="50%25%20drawn/0.png"' in (tmp_path / "index.html").read_text()
