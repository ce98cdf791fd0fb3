"""`python -m atrous` is `atrous`."""

from atrous.cli import main

main()
