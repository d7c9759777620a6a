"""Filter an image on disk that is far larger than memory, tile by tile: `apply_tiled`.

| file | what it holds |
|---|---|
| `_filtering` | `apply_tiled`: the checks; reading, computing and writing at the same time |
| `_steps` | where the tiles lie, and the three steps of each |
| `_gather` | which elements of the image a tile reads, for every padding mode |
| `_program` | the one compiled program that all tiles go through |
| `_journal` | the record of finished tiles that a killed run resumes from |
"""

from jaxconv.tiles._filtering import Tiled, apply_tiled

__all__ = ["Tiled", "apply_tiled"]
