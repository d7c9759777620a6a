"""Image files: reading and writing them without a change of what they mean."""
