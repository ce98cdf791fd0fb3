"""One table of renames per foreign toolkit; what it gives loads strictly into our own network."""
