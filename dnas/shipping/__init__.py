"""A trained network as files: what it takes and gives, how it is written, loaded, exported and asked."""
