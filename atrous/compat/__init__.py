"""Other packages' interfaces on this one: change an import, keep your code."""
