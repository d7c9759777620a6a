"""What each device of a mesh computes and exchanges for one convolution.

| | |
|---|---|
| `layout` | which mesh axes each index class of the trilinear form lies along |
| `halos` | the rows that windows reach into, and their exchange |
| `cuts` | groups that the mesh cuts apart |
| `plan` | one device's work, on local arrays and named axes |
| `automatic` | the same under plain `jit`, for whatever shardings XLA finds |

Nothing here knows of methods: the convolution of local arrays is handed in.
"""
