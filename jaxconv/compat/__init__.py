"""Other libraries' signatures over the same core."""
