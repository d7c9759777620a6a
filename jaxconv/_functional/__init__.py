"""The functions that `jaxconv` itself exports, one file a kind."""
