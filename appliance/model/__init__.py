"""The words every room uses: no I/O, no clock, no framework."""
