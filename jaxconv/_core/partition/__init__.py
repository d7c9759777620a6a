"""What each device of a mesh computes and exchanges for one convolution.

| | |
|---|---|
| `layout` | which mesh axes each index class of the trilinear form lies along |
| `halos` | the rows of other devices that windows read, and their exchange |
| `cuts` | groups whose channels the mesh splits over several devices |
| `placement` | checks of meshes and shardings, and their messages |
| `plan` | one device's work, on local arrays and named axes |
| `settle` | the layout that follows from the shardings XLA gives the arrays |
| `automatic` | the same under plain `jit`, for whatever shardings XLA finds |

Nothing here depends on methods: the convolution of local arrays is an argument.
"""
