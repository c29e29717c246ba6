"""Client library of a Sax cell, with the original Python API as a thin face."""
