"""What a TIFF says besides its values is in the filtered file, written whole and in tiles."""

import numpy as np
import pytest
import tifffile
from test_axes import PLANE, filtered, run, same, values

BOTH = pytest.mark.parametrize("tile", [(), ("--tile", 48)], ids=["whole", "tiles"])


@pytest.fixture
def kernel(tmp_path):
    np.save(tmp_path / "k.npy", PLANE)
    return tmp_path / "k.npy"


def applied(image, kernel, *options):
    out = image.with_name("y.tif")
    result = run(image, out, "--kernel", kernel, *options)
    assert result.exit_code == 0, result.stderr
    return tifffile.TiffFile(out), result.stdout


@BOTH
@pytest.mark.parametrize(
    ("photometric", "extras", "alpha"),
    [
        ("rgb", ["unspecified"], None),
        ("rgb", ["unassalpha"], 3),
        ("rgb", ["unspecified", "unassalpha"], 4),
        ("rgb", ["unassalpha", "unspecified"], 3),
        ("minisblack", ["unspecified"], None),
        ("minisblack", ["unassalpha"], 1),
        ("minisblack", ["unspecified"] * 3, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("config", ["contig", "separate"])
def test_bands_are_filtered_and_alpha_is_not(
    tmp_path, kernel, photometric, extras, alpha, config, tile
):
    x = values("uint8", 40, 50, len(extras) + (3 if photometric == "rgb" else 1))
    tifffile.imwrite(
        tmp_path / "x.tif",
        x if config == "contig" else np.moveaxis(x, -1, 0),
        photometric=photometric,
        planarconfig=config,
        extrasamples=extras,
    )
    file, told = applied(tmp_path / "x.tif", kernel, *tile)
    with file:
        page = file.pages[0]
        found = page.asarray()
        found = found if config == "contig" else np.moveaxis(found, 0, -1)
        codes = {"unspecified": 0, "unassalpha": 2}
        assert [int(code) for code in page.extrasamples] == [codes[name] for name in extras]
        assert page.photometric.name.lower() == photometric
        assert int(page.planarconfig) == {"contig": 1, "separate": 2}[config]
    expected = filtered(x, "YXS", PLANE)
    assert ("alpha kept as it was" in told) == (alpha is not None)
    if alpha is not None:
        expected[..., alpha] = x[..., alpha]
        np.testing.assert_array_equal(found[..., alpha], x[..., alpha])
    same(found, expected, "uint8")


@BOTH
def test_alpha_is_cut_with_the_colours(tmp_path, kernel, tile):
    x = values("uint16", 90, 100, 4)
    tifffile.imwrite(tmp_path / "x.tif", x, photometric="rgb", extrasamples=["unassalpha"])
    file, _ = applied(tmp_path / "x.tif", kernel, "--cut", *tile)
    with file:
        found = file.pages[0].asarray()
    assert found.shape == (88, 98, 4)
    np.testing.assert_array_equal(found[..., 3], x[1:-1, 1:-1, 3])
    same(found[..., :3], filtered(x, "YXS", PLANE)[1:-1, 1:-1, :3], "uint16")


@BOTH
def test_premultiplied_alpha_is_used_where_it_is_opaque(tmp_path, kernel, tile):
    x = values("uint8", 40, 50, 4)
    options = {"photometric": "rgb", "extrasamples": ["assocalpha"]}
    tifffile.imwrite(tmp_path / "x.tif", x, **options)
    result = run(tmp_path / "x.tif", tmp_path / "y.tif", "--kernel", kernel, *tile)
    told = "its colours are premultiplied by alpha; save it with straight alpha"
    assert result.stderr == f"jaxconv apply: {tmp_path / 'x.tif'}: {told}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.npy", "x.tif"]
    x[..., 3] = 255
    tifffile.imwrite(tmp_path / "x.tif", x, **options)
    file, _ = applied(tmp_path / "x.tif", kernel, *tile)
    with file:
        assert [int(code) for code in file.pages[0].extrasamples] == [1]


@BOTH
@pytest.mark.parametrize(
    ("compression", "predictor", "layout"),
    [("zlib", True, {"tile": (32, 16)}), ("zlib", False, {"rowsperstrip": 7}), (None, False, {})],
    ids=str,
)
def test_compression_resolution_and_texts(tmp_path, kernel, compression, predictor, layout, tile):
    x = values("uint16", 300, 270, 3)
    tifffile.imwrite(
        tmp_path / "x.tif",
        x,
        photometric="rgb",
        compression=compression,
        predictor=predictor,
        resolution=(300, 150),
        resolutionunit="CENTIMETER",
        description="words",
        software="mine",
        datetime="2020:01:02 03:04:05",
        iccprofile=b"profile",
        metadata=None,
        **layout,
    )
    file, told = applied(tmp_path / "x.tif", kernel, *tile)
    with file:
        page = file.pages[0]
        assert page.compression == (8 if compression else 1)
        assert page.predictor == (2 if predictor else 1)
        names = ("ImageDescription", "Software", "DateTime", "XResolution", "YResolution")
        found = [page.tags[name].value for name in (*names, "ResolutionUnit")]
        assert found == ["words", "mine", "2020:01:02 03:04:05", (300, 1), (150, 1), 3]
        assert page.iccprofile == b"profile"
        same(page.asarray(), filtered(x, "YXS", PLANE), "uint16")
    assert "compressed by" not in told
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@BOTH
def test_a_lossy_compression_becomes_zlib_and_says_so(tmp_path, kernel, tile, monkeypatch):
    x = values("uint8", 64, 64)
    tifffile.imwrite(tmp_path / "x.tif", x, compression="lzma")
    file, told = applied(tmp_path / "x.tif", kernel, *tile)
    with file:
        assert file.pages[0].compression == tifffile.COMPRESSION.LZMA
    assert "compressed by" not in told
    # lossy, or without its library
    monkeypatch.setattr("jaxconv._files.tiff_tags._LOSSLESS", (8,))
    file, told = applied(tmp_path / "x.tif", kernel, "--overwrite", *tile)
    with file:
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    assert told.count("; compressed by zlib") == 1


GEOTIFF = [
    (33550, 12, 3, (10.0, 10.0, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 500000.0, 4000000.0, 0.0), True),
    (34735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 32632), True),
    (42112, 2, 0, '<GDALMetadata><Item name="A">1</Item>'
     '<Item name="STATISTICS_MEAN" sample="0">7</Item></GDALMetadata>', True),
    (42113, 2, 0, "-9999", True),
]  # fmt: skip


@BOTH
def test_georeferences(tmp_path, kernel, tile):
    """As GDAL writes them; the first kept pixel stays where it was."""
    x = values("float32", 60, 70)
    tifffile.imwrite(tmp_path / "x.tif", x, extratags=GEOTIFF, metadata=None)
    for cut in (False, True):
        options = ("--cut", "--overwrite") if cut else ()
        file, told = applied(tmp_path / "x.tif", kernel, *options, *tile)
        with file:
            tags = file.pages[0].tags
            assert tags[33550].value == GEOTIFF[0][3]
            begin = (-1.0, -1.0) if cut else (0.0, 0.0)
            assert tags[33922].value == (*begin, 0.0, 500000.0, 4000000.0, 0.0)
            assert tags[34735].value == GEOTIFF[2][3]
            assert tags[42112].value == '<GDALMetadata><Item name="A">1</Item></GDALMetadata>'
            assert tags[42113].value == "-9999"
        assert "; no-data value -9999 filtered like others" in told


@BOTH
def test_sizes_of_pixels_of_microscopes(tmp_path, kernel, tile):
    x = values("uint16", 4, 2, 60, 70)
    imagej = {"axes": "ZCYX", "spacing": 0.5, "unit": "um"}
    tifffile.imwrite(tmp_path / "x.tif", x, imagej=True, metadata=imagej, resolution=(5, 5))
    file, _ = applied(tmp_path / "x.tif", kernel, *tile)
    with file:
        assert file.is_imagej
        assert not file.pages[0].is_tiled  # which ImageJ cannot read
        found = file.imagej_metadata
        assert (found["spacing"], found["unit"], found["slices"]) == (0.5, "um", 4)
        assert file.pages[0].tags["XResolution"].value == (5, 1)
    ome = {
        "axes": "ZCYX",
        "PhysicalSizeX": 0.2,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeZ": 0.5,
        "Channel": {"Name": ["actin", "nuclei"]},
    }
    tifffile.imwrite(tmp_path / "x.tif", x, ome=True, metadata=ome, photometric="minisblack")
    file, _ = applied(tmp_path / "x.tif", kernel, "--cut", "--overwrite", *tile)
    with file:
        assert file.is_ome
        text = file.ome_metadata
    for part in (
        'PhysicalSizeX="0.2"',
        'PhysicalSizeXUnit="nm"',
        'PhysicalSizeZ="0.5"',
        'Name="actin"',
        'Name="nuclei"',
        'SizeX="68"',
    ):
        assert part in text
