"""Filter an image on disk that is far larger than memory, tile by tile: `apply_tiled`.

| file | what it holds |
|---|---|
| `filtering.py` | `apply_tiled`: the checks; reading, computing and writing at the same time |
| `steps.py` | where the tiles lie, and the three steps of each |
| `choice.py` | which method all tiles take |
| `windows.py` | which elements of the image a tile reads, for every padding mode |
| `program.py` | the one compiled program that all tiles go through |
| `journal.py` | the record of finished tiles that a killed run resumes from |
| `rasters.py`, `zarr.py`, `tiff.py` | arrays on disk |
"""

from jaxconv.tiles.filtering import Tiled, apply_tiled

__all__ = ["Tiled", "apply_tiled"]
