"""Networks as files for other runtimes. This file imports nothing, so that `without_torch` starts fast."""
