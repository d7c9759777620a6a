"""The core: geometry, methods, partition over a mesh, and the primitive that dispatches them."""
