"""Filter an image on disk that is far larger than memory, tile by tile: `apply_tiled`.

| file | what it holds |
|---|---|
| `_filtering` | `apply_tiled`: its checks, and the run |
| `_steps` | the boxes of the tiles; reading, computing and writing them at the same time |
| `_gather` | reads the elements of the image that a tile needs |
| `_program` | the one compiled program that filters every tile |
| `_journal` | the record of finished tiles, from which a killed run resumes |
"""

from jaxconv.tiles._filtering import Tiled, apply_tiled

__all__ = ["Tiled", "apply_tiled"]
