"""Kernels in a terminal: tables and pictures of 80 columns, and levels where the file has them."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from jaxconv import filters
from jaxconv._files import images
from jaxconv.cli.app import app
from jaxconv.cli.tables import COLUMNS, LARGEST_TABLE, print_kernels

RNG = np.random.default_rng(0)


def printed(kernels, encoding="utf-8", width=80, **options):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_kernels(Console(file=file, width=width), kernels, **options)
    file.flush()
    return file.buffer.getvalue().decode(encoding).splitlines()


def numbers(lines):
    return np.array([[float(text) for text in line.split()] for line in lines])


@pytest.mark.parametrize("power", [-30, -9, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 12, 30])
def test_tables_fit_80_columns(power):
    for size in np.ndindex(LARGEST_TABLE, LARGEST_TABLE):
        kernel = np.float32(RNG.normal(size=np.add(size, 1)) * 10.0**power)
        lines = printed({"learned": kernel})
        head, rule, *rows, last = lines
        assert max(map(len, lines)) <= COLUMNS
        assert (len(rows), last) == (kernel.shape[0], "")
        assert set(rule.strip()) == {"-"}
        assert len(set(map(len, rows))) == 1  # aligned
        note = head.strip().removeprefix("learned")
        unit = float(note.strip(" ()").removeprefix("times ") or 1)
        largest = np.abs(kernel).max()
        np.testing.assert_allclose(unit * numbers(rows), kernel, atol=6e-3 * largest)
        assert len({len(text.partition(".")[2]) for row in rows for text in row.split()}) == 1


def test_a_9x9_table_is_one_row_a_line_with_four_decimals():
    kernel = filters.gaussian(1.8, 9, rank=2)
    lines = printed({"learned": kernel, "true": kernel})
    assert len(lines) == 2 * (2 + 9 + 1)
    assert lines[6] == "  0.0043 0.0125 0.0271 0.0431 0.0503 0.0431 0.0271 0.0125 0.0043"


def test_small_tables_are_side_by_side():
    kernels = {f"learned, {name}": RNG.normal(size=(3, 3)) for name in ("red", "green", "blue")}
    lines = printed(kernels)
    assert len(lines) == 2 + 3 + 1
    np.testing.assert_allclose(numbers(lines[2:5]), np.hstack([*kernels.values()]), atol=5.1e-5)
    assert max(map(len, lines)) <= COLUMNS
    wide = printed({name: RNG.normal(size=(3, 6)) for name in "ab"})
    assert len(wide) == 2 * (2 + 3 + 1)


def test_no_noise_of_floats():
    lines = printed({"k": np.float32([[0.1, -1e-9], [0.3, -0.2]]) * np.float32(3)})
    assert lines[2:4] == ["   0.3  0.0", "   0.9 -0.6"]
    both = printed({"a": np.eye(2), "b": 1e-7 * np.eye(2)}, one_format=False)
    assert both[0].split() == ["a", "b", "(times", "1e-7)"]
    assert both[2].split() == ["1", "0", "1", "0"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("size", [(10, 10), (3, 38), (39, 5), (101, 77), (15, 15), (1, 300)])
def test_larger_kernels_are_pictures(size, encoding):
    kernel = RNG.normal(size=size)
    lines = printed({"learned": kernel}, encoding)
    assert max(map(len, lines)) <= COLUMNS
    step = -(-max(size) // 38)
    h, w = (-(-n // step) for n in size)
    top, *rows, bottom = lines[1 : h + 3]
    assert top == bottom == "  +" + "-" * (2 * w) + "+"
    shades = " ░▒▓█" if encoding == "utf-8" else " .:*#"
    found = np.zeros((h, w))
    for (i, j), _ in np.ndenumerate(found):
        cell = rows[i][3 + 2 * j : 5 + 2 * j]
        found[i, j] = shades.index(cell[1]) * (-1 if cell[0] == "-" else 1)
        assert cell[0] in ("-", cell[1])
    largest = np.abs(kernel).max()
    for (i, j), shade in np.ndenumerate(found):
        part = kernel[i * step : (i + 1) * step, j * step : (j + 1) * step].ravel()
        value = part[np.abs(part).argmax()]
        assert abs(4 * value / largest - shade) <= 0.5 + 1e-9
    legend = lines[h + 4]
    assert f"{largest:.3f}" in legend
    assert all(2 * shade in legend for shade in shades[1:])
    assert "is negative" in lines[h + 5]
    assert ("the largest of each" in lines[0]) == (step > 1)


def test_pictures_of_several_kernels_have_one_scale():
    weak, strong = filters.gaussian(3.0, 11, rank=2), 8 * filters.gaussian(3.0, 11, rank=2)
    lines = printed({"learned, red": weak, "learned, green": strong})
    assert lines[0].split() == ["learned,", "red,", "11x11", "learned,", "green,", "11x11"]
    assert "█" not in "".join(line[:28] for line in lines[:13])
    assert "█" in "".join(line[28:] for line in lines[:13])
    assert not any("negative" in line for line in lines)  # there are none


def test_a_narrow_terminal_breaks_no_table():
    kernel = RNG.normal(size=(9, 9))
    assert printed({"k": kernel}, width=40) == printed({"k": kernel})


def test_nothing_but_zeros():
    assert printed({"k": np.zeros((2, 2))})[2:4] == ["  0 0", "  0 0"]
    assert printed({"k": np.zeros((20, 20))})[2] == "  |" + 40 * " " + "|"


# What the command prints and draws


@pytest.fixture
def figures(monkeypatch):
    """The figures that a command would write."""
    found = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig",
        lambda figure, path: (found.append(figure), path.write_bytes(b"")),
    )
    return found


def pair(folder, dtype, name="a"):
    """Two images in levels: the first, and the mean of horizontal neighbours."""
    largest = np.iinfo(dtype).max
    x = np.rint(images.sample("page")[:40, :60] * (largest - 10)).astype(dtype)
    y = ((x[:, 1:].astype(int) + x[:, :-1]) // 2).astype(dtype)
    for image, end in ((x, "x"), (y, "y")):
        path = folder / f"{name}{end}.tif"
        tifffile.imwrite(path, image)
    return folder / f"{name}x.tif", folder / f"{name}y.tif", x, y


def learn(*arguments):
    result = CliRunner().invoke(app, ["learn", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_levels_of_the_file_are_printed_and_drawn(tmp_path, figures, dtype):
    before, after, x, y = pair(tmp_path, dtype)
    out = learn(before, after, "--out", tmp_path / "out")
    assert f"(levels of {np.iinfo(dtype).max:,})" in out
    (figure,) = figures
    titles = [axes.get_title().split("\n") for axes in figure.axes[:4]]
    assert titles[0] == ["before", f"black {x.min():,}, white {x.max():,}"]
    assert titles[1] == ["after", f"black {y.min():,}, white {y.max():,}"]
    # half a level lost to rounding down, as a bias; what is left is as wide as a level
    rms = float(titles[3][1].removeprefix("rms "))
    assert 0.2 < rms < 0.3
    assert f", rms {rms:.3g}, bias -0.2" in out
    assert figure.axes[3].child_axes[0].get_ylabel() == "level"
    assert figure.axes[5].get_ylabel() == "mean squared error (level²)"
    losses = np.loadtxt(tmp_path / "out" / "losses.csv", delimiter=",", skiprows=1)[:, 1]
    level = np.iinfo(dtype).max
    np.testing.assert_allclose(figure.axes[5].lines[0].get_ydata(), level**2 * losses, rtol=1e-5)


def test_floats_have_no_levels(tmp_path, figures):
    x = images.sample("page")[:40, :60]
    tifffile.imwrite(tmp_path / "x.tif", x)
    tifffile.imwrite(tmp_path / "y.tif", (x[:, 1:] + x[:, :-1]) / 2)
    out = learn(tmp_path / "x.tif", tmp_path / "y.tif", "--out", tmp_path / "out")
    assert "(levels" not in out
    assert figures[0].axes[5].get_ylabel() == "mean squared error (intensity²)"


def test_the_figure_tells_of_how_many_pairs_it_shows_one(tmp_path, figures):
    before, after, *_ = pair(tmp_path, "uint8")
    more = ":".join(map(str, pair(tmp_path, "uint8", "b")[:2]))
    learn(before, after, "--pair", more, "--pair", more, "--steps", 3, "--out", tmp_path / "out")
    assert figures[0].get_suptitle() == "A 1x2 kernel learned from 3 pairs; this is ax"


def test_one_kernel_for_each_colour_is_one_row_of_tables(tmp_path, figures):
    x = (255 * images.sample("coffee")[100:140, 200:250]).astype(np.uint8)
    for name in "xy":
        Image.fromarray(x).save(tmp_path / f"{name}.png")
    out = learn(tmp_path / "x.png", tmp_path / "y.png", "--kernel", 3, "--out", tmp_path / "out")
    lines = out.splitlines()
    head = ["learned,", "red", "learned,", "green", "learned,", "blue"]
    at = next(n for n, line in enumerate(lines) if line.split() == head)
    np.testing.assert_allclose(
        numbers(lines[at + 2 : at + 5]), np.tile(np.pad([[1.0]], 1), 3), atol=2e-2
    )
    assert max(map(len, lines[:-1])) <= COLUMNS  # the last has the folder's path
    assert len(figures[0].axes) == 8


def test_the_restored_file_is_what_is_drawn(tmp_path, figures):
    """Values beyond the type are clipped in the figure as they are in the file."""
    y = np.where(np.eye(40) > 0, 255, 0).astype(np.uint8)
    Image.fromarray(y).save(tmp_path / "y.png")
    np.save(tmp_path / "k.npy", filters.gaussian(1.0, 9, rank=2))
    result = CliRunner().invoke(
        app, ["restore", str(tmp_path / "y.png"), "--kernel", str(tmp_path / "k.npy")]
    )
    assert result.exit_code == 0, result.stderr
    (figure,) = figures
    blurred, restored = (axes.get_title().split("\n")[1] for axes in figure.axes[:2])
    assert blurred == restored == "black 0, white 255"
    assert figure.axes[1].images[0].get_array().min() == 0
