"""`atrous demo`: land cover of the Earth, from a picture of NASA's that a wheel holds."""
